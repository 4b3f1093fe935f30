// What is done before a volume is mounted: its image is made where it is missing and may be, and checked where it will be
// written; a new upper layer is given to the pod's group.
import type { SourceRoot } from '../mount/source.ts';
import type { CallContext } from '../rpc/context.ts';
import type { ImagePreparation, Preparation } from '../volume/stage.ts';
import { type NodeDependencies, timeoutOf } from './dependencies.ts';

export async function prepare(
  { image, upper }: Preparation,
  sourceRoots: readonly SourceRoot[],
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  if (image !== undefined) await prepareImage(image, sourceRoots, deps, context);
  if (upper === undefined) return;
  const { path: source, gid, mode } = upper;
  await deps.engine.ownEmpty({ source, gid, mode, sourceRoots }, timeoutOf(context));
}

async function prepareImage(
  { path, make, check, filesystem }: ImagePreparation,
  sourceRoots: readonly SourceRoot[],
  { engine }: NodeDependencies,
  context: CallContext,
): Promise<void> {
  if (make !== undefined) {
    const { root, ...what } = make;
    const request = { path, ...what, ...(root && { root }), sourceRoots };
    // One that is there is left as it is, whatever its size.
    const { made } = await engine.makeImage(request, timeoutOf(context));
    if (made) {
      context.log.info('made an image', { image: path, ...what });
      return;
    }
  }
  if (!check) return;
  const result = await engine.checkImage({ path, filesystem, sourceRoots }, timeoutOf(context));
  if (result.is === 'repaired') context.log.warn('an image was repaired', { image: path, said: result.said });
}
