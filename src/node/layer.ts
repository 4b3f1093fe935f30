// The writable layer of an ephemeral overlay: made for one publish, owned like the root of what it is laid over.
import type { RecordKey } from '../journal/record.ts';
import type { SourceRoot } from '../mount/source.ts';
import type { Grant } from '../policy/policy.ts';
import { layerRoot, type Ownership } from '../volume/ownership.ts';
import type { Volume } from '../volume/volume.ts';
import type { Making } from '../volume/whole.ts';
import { layerPathOf, type NodeDependencies, TO_THE_END } from './dependencies.ts';

export interface LayerRequest {
  readonly volume: Volume;
  readonly key: RecordKey;
  /** What layerWanted() says; undefined: none. */
  readonly wanted: { readonly bytes: number | undefined } | undefined;
  readonly ownership: Ownership;
  readonly grant: Grant;
  readonly undo: AsyncDisposableStack;
}

export async function ensureLayer(
  { volume, key, wanted, ownership, grant, undo }: LayerRequest,
  deps: NodeDependencies,
  timeout: { timeoutMs: number },
): Promise<Making['layer']> {
  if (wanted === undefined || volume.kind !== 'overlay') return undefined;
  const [top] = volume.lowerdir;
  if (top === undefined) return undefined;
  const { engine } = deps;
  const lower = await engine.rootOf({ source: top.path, sourceRoots: grant.sourceRoots }, timeout);
  const path = layerPathOf(key, deps);
  const { bytes } = wanted;
  const layer = await engine.makeLayer(
    { path, ...(bytes !== undefined && { bytes }), root: layerRoot(ownership, lower) },
    timeout,
  );
  // One that was there, of before a reboot, holds what a pod wrote.
  if (layer.made) {
    undo.defer(async () => {
      await engine.removeLayer({ path }, TO_THE_END);
      deps.housekeeping.wake();
    });
  }
  return layer;
}

/** Where the sources of a volume may lie: its layer is the driver's own. */
export function rootsWith(
  layer: Making['layer'],
  { key, grant }: Pick<LayerRequest, 'key' | 'grant'>,
  deps: NodeDependencies,
): readonly SourceRoot[] {
  if (layer === undefined) return grant.sourceRoots;
  return [...grant.sourceRoots, { path: layerPathOf(key, deps) }];
}
