// What is done to an image before it is mounted: made where it is missing and may be, checked where it will be written.
import type { SourceRoot } from '../mount/source.ts';
import type { CallContext } from '../rpc/context.ts';
import type { ImagePreparation } from '../volume/stage.ts';
import { type NodeDependencies, timeoutOf } from './dependencies.ts';

export async function prepareImage(
  image: ImagePreparation | undefined,
  sourceRoots: readonly SourceRoot[],
  { engine }: NodeDependencies,
  context: CallContext,
): Promise<void> {
  if (image === undefined) return;
  const { path, make, check, filesystem } = image;
  if (make !== undefined) {
    const { root, ...what } = make;
    // One that is there is left as it is, whatever its size.
    const made = await engine.makeImage(
      { path, ...what, ...(root && { root }), sourceRoots },
      timeoutOf(context),
    );
    if (made.made) {
      context.log.info('made an image', { image: path, ...what });
      return;
    }
  }
  if (!check) return;
  const result = await engine.checkImage({ path, filesystem, sourceRoots }, timeoutOf(context));
  if (result.is === 'repaired') context.log.warn('an image was repaired', { image: path, said: result.said });
}
