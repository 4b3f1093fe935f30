// What a plan is made of. One map says which kinds of step there are and what each needs; the union `Step` is
// derived from it, and one row per kind says how it is described, carried out, undone, and explained when it
// fails. To add a kind: its arguments and its row in a file of steps/, which belongs in both lists below.
import { type AttachSteps, attachSteps } from './steps/attach.ts';
import { type ClaimSteps, claimSteps } from './steps/claim.ts';
import { type ClassicSteps, classicSteps } from './steps/classic.ts';
import { type DirectorySteps, directorySteps } from './steps/directories.ts';
import { type FilesystemSteps, filesystemSteps } from './steps/filesystem.ts';
import { type FuseSteps, fuseSteps } from './steps/fuse.ts';
import { type ImageSteps, imageStepRows } from './steps/image.ts';
import { type LayerSteps, layerSteps } from './steps/layers.ts';
import { type OverlaySteps, overlaySteps } from './steps/overlay.ts';
import { type RemountSteps, remountSteps } from './steps/remount.ts';
import type { Rows } from './steps/row.ts';
import { type TemporaryLayerSteps, temporaryLayerSteps } from './steps/temporary-layers.ts';
import { type TreeSteps, treeSteps } from './steps/trees.ts';
import { type UsernsSteps, usernsSteps } from './steps/userns.ts';

interface StepArguments
  extends AttachSteps,
    ClaimSteps,
    ClassicSteps,
    DirectorySteps,
    FilesystemSteps,
    FuseSteps,
    ImageSteps,
    LayerSteps,
    OverlaySteps,
    RemountSteps,
    TemporaryLayerSteps,
    TreeSteps,
    UsernsSteps {}

export const STEPS: Rows<StepArguments> = {
  ...attachSteps,
  ...claimSteps,
  ...classicSteps,
  ...directorySteps,
  ...filesystemSteps,
  ...fuseSteps,
  ...imageStepRows,
  ...layerSteps,
  ...remountSteps,
  ...overlaySteps,
  ...temporaryLayerSteps,
  ...treeSteps,
  ...usernsSteps,
};

export type StepKind = keyof StepArguments;
export type Step = { [K in StepKind]: { readonly kind: K } & StepArguments[K] }[StepKind];
