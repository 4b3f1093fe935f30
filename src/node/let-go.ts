// Two volumes of one image, disk or tree, staged on one node. Before kubelet unstages one, it looks for other mounts of the
// same device and root (GetDeviceMountRefs), and finds the other's: when both are idle, neither is unstaged, ever. So a
// volume whose last pod has gone is unmounted at its staging path here, if another one is staged that shows the same: then
// kubelet asks. Should a pod come before it does, publish stages the volume anew.
import type { VolumeRecord } from '../journal/record.ts';
import { messageOf } from '../mount/errors.ts';
import type { CallContext } from '../rpc/context.ts';
import { type NodeDependencies, placeOf, timeoutOf } from './dependencies.ts';

/** To be called with the lock of the volume. What fails here fails nobody's call: the volume stays staged. */
export async function letGoOfStaged(
  volumeId: string,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  const { journal, engine } = deps;
  const records = journal.of(volumeId);
  const staged = records.find(isStaged);
  if (staged === undefined || records.some(({ kind }) => kind === 'publish')) return;
  if (!journal.all().some((other) => other.volumeId !== volumeId && isSame(other, staged))) return;
  const { schema: _schema, bootId: _bootId, ...fields } = staged;
  try {
    // Before it is so: what is not there any more must be known not to be lost.
    await journal.put({ ...fields, letGo: true });
    await engine.unmountRecursive({ target: placeOf(staged.path, deps) }, timeoutOf(context));
  } catch (error) {
    context.log.warn('a volume that nobody uses could not be unmounted where it is staged', {
      volumeId,
      problem: messageOf(error),
    });
  }
}

const isStaged = ({ kind, state, mount, letGo }: VolumeRecord): boolean =>
  kind === 'stage' && state === 'done' && mount !== undefined && letGo !== true;

const isSame = (other: VolumeRecord, { mount }: VolumeRecord): boolean =>
  isStaged(other) && other.mount?.device === mount?.device && other.mount?.root === mount?.root;
