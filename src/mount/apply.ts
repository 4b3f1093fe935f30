// Carries out a plan at a target. Each step that fails has everything before it undone, last first, and the
// error says whether that succeeded.
import { closeAll } from '../sys/close-all.ts';
import { SyscallError } from '../sys/errors.ts';
import { Fd } from '../sys/fd.ts';
import type { UserNamespaces } from '../userns/cache.ts';
import { type Explanation, explained, MountError, toMountError } from './errors.ts';
import { beginPrograms, type Programs } from './fuse/programs.ts';
import type { Kernel } from './kernel.ts';
import { ANYWHERE, type Sources } from './source.ts';
import type { Slot, Workplace } from './steps/row.ts';
import { userNamespacesOn } from './steps/userns.ts';
import { STEPS, type Step } from './steps.ts';
import type { Target } from './target.ts';

export interface ApplyOptions {
  /** Where the plan's sources are found (default: anywhere). */
  readonly sources?: Sources;
  readonly programs?: Programs;
  /** Where they are had from; by default none is kept. */
  readonly userNamespaces?: UserNamespaces;
}

/** @throws MountError */
export function apply(
  steps: readonly Step[],
  target: Target,
  kernel: Pick<Kernel, 'has'>,
  options: ApplyOptions = {},
): void {
  const slots = new Map<Slot, { readonly fd: Fd; readonly owner: Disposable }>();
  const empty = new Set<Slot>();
  const rest = [...steps];
  const workplace: Workplace = {
    target,
    kernel,
    sources: options.sources ?? ANYWHERE,
    programs: options.programs ?? beginPrograms(),
    userNamespaces: options.userNamespaces ?? userNamespacesOn(kernel, { limit: 0 }),
    get(slot) {
      const filled = slots.get(slot);
      if (filled === undefined) throw new Error(`the plan reads the slot ${slot} before it is filled`);
      return filled.fd;
    },
    find: (slot) => (empty.has(slot) ? undefined : workplace.get(slot)),
    leaveEmpty: (slot) => empty.add(slot),
    put(slot, fd, owner = fd) {
      if (slots.has(slot)) throw new Error(`the plan fills the slot ${slot} twice`);
      slots.set(slot, { fd, owner });
    },
    replace(slot, fd) {
      workplace.drop(slot);
      workplace.put(slot, fd);
    },
    drop(slot) {
      slots.get(slot)?.owner[Symbol.dispose]();
      slots.delete(slot);
    },
    insert: (more) => rest.unshift(...more),
  };
  const done: Step[] = [];
  let current: Step | undefined;
  try {
    for (current = rest.shift(); current !== undefined; current = rest.shift()) {
      rowOf(current).apply(current, workplace);
      done.push(current);
    }
  } catch (error) {
    const rolledBack = undo(done, workplace);
    // What the step itself had done by then could not be taken back.
    if (error instanceof SuppressedError) throw explain(error.suppressed, current, false);
    throw explain(error, current, rolledBack);
  } finally {
    letGo([...slots.values()].reverse().map(({ owner }) => owner));
  }
}

function letGo(owners: readonly Disposable[]): void {
  for (const owner of owners) if (!(owner instanceof Fd)) owner[Symbol.dispose]();
  closeAll(owners.filter((owner) => owner instanceof Fd));
}

interface AnyRow {
  readonly apply: (args: Step, at: Workplace) => void;
  readonly undo?: (args: Step, at: Workplace) => void;
  readonly explain?: (errno: string, args: Step) => Explanation | undefined;
}

/** A row and a step of the same kind belong together, which TypeScript cannot see through the union. */
const rowOf = (step: Step): AnyRow => STEPS[step.kind] as AnyRow;

/** True when nothing is left of these steps. */
function undo(done: readonly Step[], workplace: Workplace): boolean {
  let complete = true;
  for (const step of done.toReversed()) {
    try {
      rowOf(step).undo?.(step, workplace);
    } catch {
      // The error of the step itself is the one to report; that something stayed is said by `rolledBack`.
      complete = false;
    }
  }
  return complete;
}

function explain(error: unknown, failed: Step | undefined, rolledBack: boolean): MountError {
  if (error instanceof MountError)
    return new MountError({ ...error.toInit(), rolledBack }, { cause: error.cause });
  if (!(error instanceof SyscallError) || failed === undefined) return toMountError(error, rolledBack);
  const explanation = rowOf(failed).explain?.(error.code, failed);
  return explanation === undefined
    ? toMountError(error, rolledBack)
    : explained(error, explanation, rolledBack);
}
