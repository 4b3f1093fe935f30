// From a Mount to the steps that make it: which planner serves which type, by which calls. Pure: what the kernel can
// do comes in as an argument.
//
//   type                          modern              classic                    makes
//   bind, or options bind, rbind  plan/bind.ts        plan/classic.ts            a copy of a mount
//   overlay                       plan/overlay.ts     plan/classic-overlay.ts    a superblock over layers
//   any with loop, ext4, auto...  plan/image.ts       plan/classic-image.ts      a superblock from a disk or an image
//   fuse.NAME, fuse3.NAME         plan/fuse.ts        plan/fuse.ts               what the program NAME mounts
//   any other                     plan/filesystem.ts  plan/classic.ts            a superblock of that type
//   any, with the option remount  plan/remount.ts     plan/remount.ts            changes what is at the target
import type { FeatureName } from '../sys/features.ts';
import { invalidMount } from './errors.ts';
import type { Kernel, MountApi } from './kernel.ts';
import type { Mount } from './mount.ts';
import { type ParsedOptions, parseOptions } from './options.ts';
import { ofOneMount } from './plan/attributes.ts';
import { isTree, planBind } from './plan/bind.ts';
import { planClassicBind, planClassicFilesystem } from './plan/classic.ts';
import { planClassicImage } from './plan/classic-image.ts';
import { planClassicOverlay } from './plan/classic-overlay.ts';
import { planFilesystem } from './plan/filesystem.ts';
import { isFuseType, planClassicFuse, planFuse } from './plan/fuse.ts';
import { isImage, planImage } from './plan/image.ts';
import { planOverlay } from './plan/overlay.ts';
import { planClassicRemount, planRemount } from './plan/remount.ts';
import { STEPS, type Step } from './steps.ts';

/** What each planner gets: the Mount with its options read. */
export interface ParsedMount {
  readonly type: string;
  readonly source: string;
  readonly options: ParsedOptions;
  /** Sources are held, and given to the kernel by descriptor: their names must not go into texts of the plan. */
  readonly held: boolean;
}

export type Planner = (mount: ParsedMount, kernel: Kernel) => Step[];

type MountKind = 'bind' | 'overlay' | 'image' | 'fuse' | 'filesystem' | 'remount';

const PLANNERS: { readonly [K in MountKind]: { readonly [A in MountApi]: Planner } } = {
  bind: { modern: planBind, classic: planClassicBind },
  overlay: { modern: planOverlay, classic: planClassicOverlay },
  image: { modern: planImage, classic: planClassicImage },
  fuse: { modern: planFuse, classic: planClassicFuse },
  filesystem: { modern: planFilesystem, classic: planClassicFilesystem },
  remount: { modern: planRemount, classic: planClassicRemount },
};

/** What the modern way of a kind cannot do without. */
const NEEDS: { readonly [K in MountKind]: readonly FeatureName[] } = {
  bind: ['open-tree', 'move-mount', 'mount-setattr'],
  overlay: ['fsopen', 'open-tree', 'move-mount', 'mount-setattr'],
  image: ['fsopen', 'move-mount', 'mount-setattr'],
  fuse: ['mount-setattr'],
  filesystem: ['fsopen', 'move-mount', 'mount-setattr'],
  remount: ['fsopen', 'mount-setattr'],
};

export interface PlanOptions {
  /** The sources have roots (source.ts): they are held, and given to the kernel by descriptor. */
  readonly held?: boolean;
}

/** @throws MountError (invalid-mount, kernel-unsupported) */
export function plan(mount: Mount, kernel: Kernel, { held = false }: PlanOptions = {}): Step[] {
  const given = parseOptions(mount.options);
  const kind = kindOf(mount.type, given);
  checkOptions(kind, mount.type, given);
  // A new filesystem has nothing below it, and a plain bind leaves that behind.
  const hasTree = kind === 'remount' || (kind === 'bind' && isTree(mount.type, given));
  const options = hasTree ? given : ofOneMount(given);
  const api = kernel.api ?? (NEEDS[kind].every(kernel.has) ? 'modern' : 'classic');
  return PLANNERS[kind][api]({ type: mount.type, source: mount.source, options, held }, kernel);
}

function kindOf(type: string, options: ParsedOptions): MountKind {
  if (type === '') throw invalidMount('a mount without a type; use bind, overlay, tmpfs, ...');
  if (options.remount) return 'remount';
  if (isImage(type, options)) return 'image';
  if (type === 'bind' || type === 'rbind' || options.bind !== undefined) return 'bind';
  if (type === 'overlay') return 'overlay';
  if (isFuseType(type)) return 'fuse';
  return 'filesystem';
}

/** Options of ours that only some kinds of mount can have. */
function checkOptions(kind: MountKind, type: string, { idmap, directories }: ParsedOptions): void {
  if (idmap?.upper && kind !== 'overlay')
    throw invalidMount(`idmapupper is for the upperdir of an overlay; leave it out of ${kind} mounts`);
  if (directories.length > 0 && (kind !== 'filesystem' || type !== 'tmpfs'))
    throw invalidMount(`mkdir=${directories[0]}: only a new tmpfs gets directories made in it; leave it out`);
}

/** The step as a person reads it. */
export function describeStep(step: Step): string {
  // TypeScript cannot see that a row and a step of the same kind belong together.
  const row = STEPS[step.kind] as { describe: (args: Step) => string };
  return row.describe(step);
}
