// Whether what is mounted below the kubelet directory is seen outside of the driver's container. Where it is not, kubelet
// and pods would find an empty directory in place of each volume, without a word from anybody.
//
//   the mount that the directory is on is shared     seen: mountPropagation: Bidirectional, or the node's own
//   it is not, and this is the node's mount namespace   seen: there is no container
//   else                                             not seen
//
// The tags of the mount are asked, not a trial mount: whether one has arrived can only be looked at from the other side.
import { readlinkSync } from 'node:fs';
import type { NodeDependencies } from './dependencies.ts';

/** Why not; undefined when it is. */
export async function whyUnseen({
  engine,
  kubeletDir,
}: Pick<NodeDependencies, 'engine' | 'kubeletDir'>): Promise<string | undefined> {
  const tags = await engine.propagationOf({ source: kubeletDir });
  if (tags.some((tag) => tag.startsWith('shared:')) || isNodeNamespace()) return undefined;
  return (
    `mounts below ${kubeletDir} are not seen on the node: the mount it is on is ${tags.join(' ') || 'private'}, not shared; ` +
    'mount it into the container with mountPropagation: Bidirectional'
  );
}

/** The first mount namespace of the system (MNT_NS_INIT_INO of linux/nsfs.h, Linux 6.18); it has no fixed number before. */
const FIRST_NAMESPACE = 'mnt:[4026531832]';

/** The first one, or that of process 1, where that is another than ours: in a container without hostPID it is ours. */
function isNodeNamespace(): boolean {
  const own = readlinkSync('/proc/self/ns/mnt');
  if (own === FIRST_NAMESPACE) return true;
  if (process.pid === 1) return false;
  try {
    return readlinkSync('/proc/1/ns/mnt') === own;
  } catch {
    // Not ours to look at.
    return false;
  }
}
