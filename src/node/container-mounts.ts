// Which mounts of a container come from a volume: by the paths that kubelet gives them. Pure.
//
//   the volume           <kubelet dir>/pods/<uid>/volumes/kubernetes.io~csi/<volume>/mount
//   a part of it         below that
//   a subPath of it      <kubelet dir>/pods/<uid>/volume-subpaths/<volume>/<container>/<number>, where kubelet has bound it
//
// A runtime resolves symbolic links first, and may so call the kubelet directory by another name: what follows it is the
// same, and says which pod it is.
import path from 'node:path';
import type { Mount } from '../rpc/generated/nri.ts';

export interface Origin {
  readonly is: 'volume' | 'part' | 'sub-path';
  /** The source as the driver finds it, below its own kubelet directory. */
  readonly path: string;
}

/** @param target of the publish, below `kubeletDir`; @param source of the container's mount */
export function originOf(source: string, target: string, kubeletDir: string): Origin | undefined {
  const [pods, uid, , , volume] = path.relative(kubeletDir, target).split('/');
  const pod = `/${pods}/${uid}/`;
  const at = source.lastIndexOf(pod);
  if (at === -1 || source.split('/').includes('..')) return undefined;
  const here = path.join(kubeletDir, source.slice(at));
  if (here === target) return { is: 'volume', path: here };
  if (here.startsWith(`${target}/`)) return { is: 'part', path: here };
  const subPaths = path.join(kubeletDir, pod, 'volume-subpaths', volume ?? '', '/');
  return here.startsWith(subPaths) ? { is: 'sub-path', path: here } : undefined;
}

/**
 * The same mount without what maps its ids. On what is read-only by its superblock no runtime can clear the flags that a
 * mount has besides (`nosuid`), for a container with a user namespace; it does not try where it is told `ro`.
 */
export function unmapped(mount: Mount, { isReadOnly }: { readonly isReadOnly: boolean }): Mount {
  const options = mount.options.filter((option) => !/^r?idmap(=|$)/.test(option));
  return { ...mount, options: isReadOnly ? [...options.filter((option) => option !== 'rw'), 'ro'] : options };
}
