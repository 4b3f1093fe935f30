// What a policy is once its file has been read (read.ts): rules, of which one must allow all of a volume
// (authorize.ts). Fails closed: what no rule allows is refused.
import type { SourceRoot } from '../mount/source.ts';
import type { Idmap, Writable } from '../volume/volume.ts';
import type { Terms } from '../volume/whole.ts';

export interface Policy {
  readonly version: 1;
  readonly rules: readonly Rule[];
}

/** Who wrote the volume: the author of a pod, or an administrator as a PersistentVolume. */
export type VolumeClass = 'inline' | 'persistent';

/** A glob or a regular expression as the file has it, and what it matches: always a whole text. */
export interface Pattern {
  readonly text: string;
  readonly regex: RegExp;
}

export interface Rule {
  /** As messages name it: `rule tenants (rules[1])`. */
  readonly label: string;
  readonly class: VolumeClass;
  /** Undefined: all. */
  readonly namespaces: readonly Pattern[] | undefined;
  /** `name` or `namespace/name`; undefined: all. */
  readonly serviceAccounts: readonly Pattern[] | undefined;
  /** As authors name them: `overlay`, `ext4`, `fuse.sshfs`. */
  readonly types: readonly Pattern[];
  /** Filesystems of images; `auto` is one that is not named. */
  readonly fsTypes: readonly Pattern[];
  readonly roots: readonly Root[];
  readonly writable: readonly Writable['is'][];
  /** Sources are only shown by mounts that are read-only by their superblock, which holds in a container. */
  readonly readOnlyViewsOnly: boolean;
  /** By type, then by name; the value's pattern, or undefined for an option without one. */
  readonly options: ReadonlyMap<string, AllowedOptions>;
  readonly flags: readonly Flag[];
  /** SELinux labels that `context=` may give. */
  readonly contexts: readonly Pattern[];
  /** FUSE helpers by name. */
  readonly helpers: ReadonlyMap<string, HelperRule>;
  /** Sources that are no paths (servers), by type. */
  readonly sources: ReadonlyMap<string, readonly Pattern[]>;
  readonly idmap: IdmapRule;
  /** Of tmpfs and of ephemeral layers, in bytes. */
  readonly sizeLimit: { readonly default: number | undefined; readonly max: number | undefined };
  /** Of images that are made, in bytes. */
  readonly size: { readonly max: number | undefined };
  readonly mkfs: boolean;
  /** Block devices of the node as sources. */
  readonly devices: boolean;
  /** Images as block devices of the pod. */
  readonly block: boolean;
  /** Of one namespace on this node. */
  readonly maxVolumes: number | undefined;
}

export type AllowedOptions = ReadonlyMap<string, Pattern | undefined>;

/** What a mount may have when its author asks for it; without them it is nosuid, nodev, noexec. */
export type Flag = 'suid' | 'dev' | 'exec';

export interface Root {
  /** May hold `${namespace}` and `${serviceAccount}`. */
  readonly path: string;
  readonly access: 'read-only' | 'read-write';
  /** A filesystem must be mounted there, or nothing below it is used. */
  readonly requireMountpoint: boolean;
  /** Nobody but administrators writes below it, so that overlays may follow what its files say. */
  readonly trusted: boolean;
}

export interface HelperRule {
  /** For sources that are no paths; paths go by roots. */
  readonly sources: readonly Pattern[];
  readonly options: AllowedOptions;
  /** The one file that is started, whatever it is called; undefined: the first of the helper's name in the usual directories. */
  readonly program: string | undefined;
  /** The ordinary user that it runs as; undefined: with all rights of who starts it. */
  readonly user: HelperUser | undefined;
}

export interface HelperUser {
  readonly uid: number;
  readonly gid: number;
}

export interface IdmapRule {
  readonly kinds: readonly Exclude<Idmap['is'], 'none'>[];
  /** Ids that a mapping may name, on either side; undefined for all. */
  readonly onDisk: readonly IdRange[] | undefined;
  readonly shown: readonly IdRange[] | undefined;
}

/** Both included. */
export interface IdRange {
  readonly from: number;
  readonly to: number;
}

/** What a volume may have, and on which terms. */
export interface Grant extends Terms {
  /** Beneath which its sources are opened; none: it has no sources. */
  readonly sourceRoots: readonly SourceRoot[];
  /** Bytes that it may be grown to, where it has a size of its own; undefined: as many as there are. */
  readonly growTo: number | undefined;
  /** Which file is started for a helper, by the helper's name; others are looked for in the usual directories. */
  readonly helperPrograms: ReadonlyMap<string, string>;
  /** Which of its helpers run as an ordinary user, by name. */
  readonly helperUsers: ReadonlyMap<string, HelperUser>;
}

/** A volume that its author may not have. Final: only a change of volume or policy helps. */
export class PolicyError extends Error {
  override readonly name = 'PolicyError';
}
