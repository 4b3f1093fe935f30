// From a Mount to the steps that make it: which planner serves which type, and what all kinds have in common.
// Pure: nothing here asks the machine.
//
//   type                          planner             makes
//   bind, or options bind, rbind  plan/bind.ts        a copy of a mount
//   overlay                       plan/overlay.ts     a new superblock over layers, ID-mapped one by one
//   any with loop, ext4, auto...  plan/image.ts       a superblock from a disk or an image file
//   any other                     plan/filesystem.ts  a new superblock of that type
import { invalidMount } from './errors.ts';
import type { Mount } from './mount.ts';
import { type ParsedOptions, parseOptions } from './options.ts';
import { planBind } from './plan/bind.ts';
import { planFilesystem } from './plan/filesystem.ts';
import { isImage, planImage } from './plan/image.ts';
import { planOverlay } from './plan/overlay.ts';
import { STEPS, type Step } from './steps.ts';

/** What each planner gets: the Mount with its options read. */
export interface ParsedMount {
  readonly type: string;
  readonly source: string;
  readonly options: ParsedOptions;
}

/** A planner's part: the steps up to a finished, detached mount in the slot `mount`. */
export type Planner = (mount: ParsedMount) => Step[];

/** @throws MountError (invalid-mount) */
export function plan(mount: Mount): Step[] {
  const options = parseOptions(mount.options);
  if (mount.type === '') throw invalidMount('a mount without a type; use bind, overlay, tmpfs, ...');
  return [
    ...plannerOf(mount.type, options)({ type: mount.type, source: mount.source, options }),
    ...finish(options),
  ];
}

function plannerOf(type: string, options: ParsedOptions): Planner {
  if (isImage(type, options)) return planImage;
  if (type === 'bind' || type === 'rbind' || options.bind !== undefined) return planBind;
  if (type === 'overlay') return planOverlay;
  if (/^fuse3?\.|^fuse(blk)?$/.test(type)) {
    throw invalidMount(
      `type ${type}: FUSE filesystems are mounted by their helpers, which this version does not start`,
    );
  }
  return planFilesystem;
}

/** Attributes are set before the attach, so that the mount is seen once, complete. Propagation only holds after. */
function finish({ propagation }: ParsedOptions): Step[] {
  const steps: Step[] = [{ kind: 'attach', mount: 'mount' }];
  if (propagation !== undefined) {
    steps.push({
      kind: 'setPropagation',
      on: 'mount',
      type: propagation.type,
      recursive: propagation.recursive,
    });
  }
  steps.push({ kind: 'verify', mount: 'mount' });
  return steps;
}

/** The step as a person reads it. */
export function describeStep(step: Step): string {
  // TypeScript cannot see that a row and a step of the same kind belong together.
  const row = STEPS[step.kind] as { describe: (args: Step) => string };
  return row.describe(step);
}
