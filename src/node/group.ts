// An ID map changes the group that is shown, never the permission bits: a volume whose root the group cannot write is
// one that fsGroup does not help, and the pod is told why.
import type { Volume } from '../volume/volume.ts';
import { type NodeDependencies, TO_THE_END } from './dependencies.ts';

const GROUP_WRITE = 0o020;

export interface ShownGroup {
  /** fsGroup. */
  readonly group: number;
  /** What it is on the node: another id, for a pod with a user namespace. */
  readonly shown: number;
}

export async function tellOfGroup(
  { pod, type }: Volume,
  { group, shown }: ShownGroup,
  path: string,
  deps: NodeDependencies,
): Promise<void> {
  if (pod === undefined) return;
  const root = await deps.engine
    .rootOf({ source: path, sourceRoots: [{ path: deps.kubeletDir }] }, TO_THE_END)
    .catch(() => undefined);
  if (root === undefined || (root.gid === shown && (root.mode & GROUP_WRITE) !== 0)) return;
  deps.events.emit(pod, {
    type: 'Warning',
    reason: 'FsGroupCannotWrite',
    message:
      `the root of the volume (type ${type}) has group ${root.gid} and mode ${(root.mode & 0o7777).toString(8)}: ` +
      `fsGroup ${group} cannot write there; chgrp and chmod g+w the source on the node`,
  });
}
