// What a row of the step table is.
//
// Steps pass file descriptors on by name (a Slot): a step with `as` fills one, later steps read it. All slots
// are closed when the plan has been carried out or has failed, so a detached mount that never got attached is
// gone with its descriptor.
import type { Fd } from '../../sys/fd.ts';
import type { UserNamespaces } from '../../userns/cache.ts';
import type { Explanation } from '../errors.ts';
import type { Programs } from '../fuse/programs.ts';
import type { Kernel } from '../kernel.ts';
import type { Sources } from '../source.ts';
import type { Step } from '../steps.ts';
import type { Target } from '../target.ts';

/** Name of a file descriptor within one plan. */
export type Slot = string;

/** Name of the empty layer below a single lowerdir, which the kernel refuses alone without an upperdir. */
export const EMPTY_LAYER = 'empty';

/** What makes an overlay writable. */
export interface Upper {
  readonly upperdir: string;
  readonly workdir: string;
}

/** What steps work on: the descriptors made so far and the place where the mount goes. */
export interface Workplace {
  readonly target: Target;
  /** Where sources are found: no step gives the kernel the name of one but through these. */
  readonly sources: Sources;
  /** How programs may be run, and until when. */
  readonly programs: Programs;
  readonly kernel: Pick<Kernel, 'has'>;
  /** Where user namespaces are had from. */
  readonly userNamespaces: UserNamespaces;
  get(slot: Slot): Fd;
  /** As get(), for a slot that may have been left empty: undefined then. */
  find(slot: Slot): Fd | undefined;
  /** Says that the step that would fill this slot has nothing to put there. */
  leaveEmpty(slot: Slot): void;
  /** @param owner released at the end in place of the descriptor: for one that is borrowed */
  put(slot: Slot, fd: Fd, owner?: Disposable): void;
  /** Puts another into a filled slot, and closes what was there. */
  replace(slot: Slot, fd: Fd): void;
  /** Closes what is in a slot, if anything, which can be filled again. */
  drop(slot: Slot): void;
  /** Steps to be carried out next, before the rest of the plan: for what depends on what a step finds. */
  insert(steps: readonly Step[]): void;
}

export interface StepRow<A> {
  readonly describe: (args: A) => string;
  readonly apply: (args: A, at: Workplace) => void;
  /** Takes back what `apply` did beyond its descriptors. */
  readonly undo?: (args: A, at: Workplace) => void;
  /** What an errno means at this step, where that is known. */
  readonly explain?: (errno: string, args: A) => Explanation | undefined;
}

/** One row for each kind: a missing one does not compile. */
export type Rows<Arguments> = { readonly [K in keyof Arguments]: StepRow<Arguments[K]> };
