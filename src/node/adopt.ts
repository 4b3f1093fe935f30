// A mount without a record: the state directory was lost under running pods, who have it or views of it. It must not be
// made a second time beside them (two overlays on one upperdir corrupt it), and the path is nobody else's: it names the
// volume, and that of a target the pod too. So what looks like the volume, and is all of it, is taken for it.
import type { RecordKey } from '../journal/record.ts';
import type { Lookup } from '../mount/lookup.ts';
import { showsDisk } from '../mount/loop/nodes.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import type { CallContext } from '../rpc/context.ts';
import { type NodeDependencies, placeOf, timeoutOf } from './dependencies.ts';

export interface Adoptable {
  /** Of a Mount, or `device`. */
  readonly type: string;
  /** How many there are, at the path and below it: fewer are what an interrupted call has left. */
  readonly mounts: number;
  readonly state: 'done' | 'waiting' | ((shown: MountInfo) => 'done' | 'waiting');
}

export async function adoptable(
  { path }: RecordKey,
  shown: Lookup,
  wanted: Adoptable,
  deps: Pick<NodeDependencies, 'engine' | 'kubeletDir'>,
  context: CallContext,
): Promise<MountInfo | undefined> {
  if (shown.is !== 'mount-point' || !looksLike(wanted.type, shown.mount.type)) return undefined;
  if (wanted.type === 'device' && !showsDisk(shown.mount)) return undefined;
  if (wanted.mounts > 1) {
    const there = await deps.engine.mountsBelow({ target: placeOf(path, deps) }, timeoutOf(context));
    if (there.length < wanted.mounts) return undefined;
  }
  return shown.mount;
}

/** What a mount of a type is shown as: a bind as what it shows, an image as what is in it, FUSE with its helper. */
function looksLike(wanted: string, shown: string): boolean {
  if (wanted === 'device') return shown === 'devtmpfs' || shown === 'tmpfs';
  if (wanted === 'bind' || wanted === 'auto' || wanted === shown) return true;
  return wanted.startsWith('fuse') && shown.startsWith('fuse');
}
