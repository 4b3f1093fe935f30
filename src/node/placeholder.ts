// The empty overlay that is at a target until the volume is, and below it then (volume/publish.ts).
import { mkdir } from 'node:fs/promises';
import type { Lookup } from '../mount/lookup.ts';
import type { MountInfo } from '../mount/mountinfo.ts';
import type { MountRequest } from '../mount/operations.ts';
import { PLACEHOLDER, placeholderOf } from '../volume/publish.ts';
import { emptyDirOf, type NodeDependencies, placeOf } from './dependencies.ts';

export const isPlaceholder = ({ type, source }: MountInfo): boolean =>
  type === 'overlay' && source === PLACEHOLDER;

/** At a target where nothing is. */
export async function mountPlaceholder(
  path: string,
  options: Pick<MountRequest, 'create'> & { readonly timeoutMs: number },
  deps: NodeDependencies,
): Promise<Lookup> {
  const { timeoutMs, ...create } = options;
  const empty = emptyDirOf(deps);
  await mkdir(empty, { recursive: true, mode: 0o755 });
  const mounts = [placeholderOf(empty)];
  const place = { target: placeOf(path, deps), expectEmpty: true, ...create };
  return deps.engine.mountAll({ mounts, ...place, sourceRoots: [{ path: empty }] }, { timeoutMs });
}
