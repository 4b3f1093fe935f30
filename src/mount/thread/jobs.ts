// What a thread of thread.ts can be asked to do. File descriptors go by number: threads share them.
import type { FilesystemUser } from '../../sys/filesystem-user.ts';

export interface Jobs {
  /** mount(2) with the working directory at `cwd`. `target` is absolute. */
  readonly mountAt: {
    readonly args: {
      readonly cwd: number;
      readonly source: string;
      readonly target: string;
      readonly type: string;
      readonly flags: number;
      readonly data: string;
    };
    readonly result: null;
  };
  /** An overlay of directories in detached mounts, as a detached mount: its descriptor. Closes none of those it was given. */
  readonly assembleOverlay: { readonly args: OverlayParts; readonly result: number };
  /** Makes a file in this directory, and lets it go. */
  readonly tryWriting: {
    readonly args: { readonly directory: number; readonly user: FilesystemUser };
    readonly result: null;
  };
  /** The root directory of a filesystem on a block device, mounted where nobody sees it until that is closed. */
  readonly openFilesystem: {
    readonly args: { readonly major: number; readonly minor: number; readonly type: string };
    readonly result: number;
  };
}

/** Flags of a new superblock: by name for fsconfig(2), and as MS_* for mount(2). */
export interface SuperblockFlags {
  readonly words: readonly string[];
  readonly flags: number;
}

export interface OverlayParts {
  /** Whether fsopen(2) may be used; else mount(2). */
  readonly context: boolean;
  readonly source: string;
  readonly superblock: SuperblockFlags;
  /** Options of the overlay, without layers, each `key` or `key=value`. */
  readonly data: readonly string[];
  /** Detached mounts that the layers and both directories of `upper` lie in: they must be attached here. */
  readonly copies: readonly number[];
  readonly layers: readonly { readonly fd: number; readonly dataOnly: boolean }[];
  readonly upper:
    | {
        readonly upper: number;
        readonly work: number;
        /** What the upperdir is called: the options of the overlay show it (steps/claim.ts). */
        readonly name: string;
      }
    | undefined;
  /** Whose name the overlay works in, from then on: who has an id where its upper layer is mapped. */
  readonly user: FilesystemUser | undefined;
}

export type JobName = keyof Jobs;
export type Job = { [K in JobName]: { readonly name: K; readonly args: Jobs[K]['args'] } }[JobName];
