// Two volumes of one image, disk or tree, staged on one node. Before kubelet unstages one, it looks for other mounts of the
// same device and root (GetDeviceMountRefs), and finds the other's: when both are idle, neither is unstaged, ever. So a
// volume whose last pod has gone is unmounted at its staging path here, if another one is staged that shows the same: then
// kubelet asks. Should a pod come before it does, publish stages the volume anew.
//
//   the record says            and is mounted                      not
//   done                       staged                              somebody else has unmounted it
//   done, letGo, no mount      the unmount was begun: perhaps a    let go of
//                              part of a tree is left
//
// So only the kernel tells whether a volume that was to be let go of is in the way still.
import { fieldsOf, type VolumeRecord } from '../journal/record.ts';
import { messageOf } from '../mount/errors.ts';
import type { CallContext } from '../rpc/context.ts';
import { type NodeDependencies, placeOf, TO_THE_END, timeoutOf } from './dependencies.ts';
import { identityOf } from './mounted.ts';

type Mounted = NonNullable<VolumeRecord['mount']>;

/** To be called with the lock of the volume. What fails here fails nobody's call. */
export async function letGoOfStaged(
  volumeId: string,
  deps: NodeDependencies,
  context: CallContext,
): Promise<void> {
  const records = deps.journal.of(volumeId);
  const staged = records.find(isStaged);
  if (staged === undefined || records.some(({ kind }) => kind === 'publish')) return;
  try {
    if (await isInTheWay(staged, deps, context)) await letGo(staged, deps, context);
  } catch (error) {
    context.log.warn('a volume that nobody uses could not be unmounted where it is staged', {
      volumeId,
      problem: messageOf(error),
    });
  }
}

async function letGo(staged: VolumeRecord, deps: NodeDependencies, context: CallContext): Promise<void> {
  const { journal, engine } = deps;
  const target = placeOf(staged.path, deps);
  const before = (await engine.mountsBelow({ target }, timeoutOf(context))).length;
  const fields = fieldsOf(staged);
  // Before it is so: what is not there any more must be known not to be lost.
  await journal.put({ ...fields, state: 'done', mount: undefined, letGo: true });
  try {
    await engine.unmountRecursive({ target }, timeoutOf(context));
  } catch (error) {
    const left = await engine.mountsBelow({ target }, TO_THE_END);
    // Of what was to be let go of before, it is not known that it was whole then.
    if (left.length === before && staged.letGo !== true) await journal.put(fields);
    throw error;
  }
}

/** Whether it is mounted, and another volume that shows the same too. */
async function isInTheWay(
  staged: VolumeRecord,
  deps: NodeDependencies,
  context: CallContext,
): Promise<boolean> {
  const others = deps.journal.all().filter((one) => one.volumeId !== staged.volumeId && isStaged(one));
  if (others.length === 0) return false;
  const own = await mountOf(staged, deps, context);
  if (own === undefined) return false;
  for (const other of others) {
    const mount = await mountOf(other, deps, context);
    if (mount?.device === own.device && mount.root === own.root) return true;
  }
  return false;
}

async function mountOf(
  record: VolumeRecord,
  deps: NodeDependencies,
  context: CallContext,
): Promise<Mounted | undefined> {
  if (record.letGo !== true) return record.mount;
  const shown = await deps.engine.lookup({ target: placeOf(record.path, deps) }, timeoutOf(context));
  return shown.is === 'mount-point' ? identityOf(shown.mount) : undefined;
}

/** Kubelet holds it for that. */
const isStaged = ({ kind, state, letGo }: VolumeRecord): boolean =>
  kind === 'stage' && (state === 'done' || letGo === true);
