// Steps that make a new superblock (fsopen(2) and its kin).
import { ST_RDONLY } from '../../sys/constants.ts';
import { type FsconfigValue, fsconfig, fsmount, fsopen, fstatfs } from '../../sys/syscalls.ts';
import { MountError } from '../errors.ts';
import { filesystemSource } from '../source-device.ts';
import { onThread } from '../thread/thread.ts';
import type { Rows, Slot, Workplace } from './row.ts';
import { explainPath } from './trees.ts';
import { rootOfNamespace } from './userns.ts';

export interface FilesystemSteps {
  readonly openFilesystem: { readonly type: string; readonly as: Slot };
  /** One parameter of a filesystem context. */
  readonly configure: { readonly context: Slot; readonly key: string; readonly value: ConfigValue };
  /** The superblock, and a detached mount of it. */
  readonly createMount: { readonly context: Slot; readonly as: Slot };
  /**
   * A writable overlay whose upper layer cannot be written turns read-only without an error. One whose upper layer is
   * mapped is tried: root of this user namespace, if it is there, makes a file in it.
   */
  readonly checkWritable: { readonly on: Slot; readonly userns?: Slot };
}

export type ConfigValue =
  | { readonly flag: true }
  | { readonly string: string }
  | { readonly fd: Slot }
  /** By its name, as any program gives it. */
  | { readonly directory: string }
  /** The source of a filesystem of this type. */
  | { readonly source: string; readonly of: string };

export const filesystemSteps: Rows<FilesystemSteps> = {
  openFilesystem: {
    describe: ({ type, as }) => `${as} = fsopen(${JSON.stringify(type)})`,
    apply: ({ type, as }, at) => at.put(as, fsopen(type, 1)),
    explain: (errno, { type }) =>
      errno === 'ENODEV'
        ? {
            reason: 'kernel-unsupported',
            meaning: `this kernel has no filesystem ${type}; see /proc/filesystems`,
          }
        : undefined,
  },
  configure: {
    describe: ({ context, key, value }) => {
      const text = textOf(value);
      const shown = 'fd' in value ? value.fd : text === undefined ? '' : JSON.stringify(text);
      return `fsconfig(${context}, ${key}${shown === '' ? '' : ` = ${shown}`})`;
    },
    apply: ({ context, key, value }, at) => fsconfig(at.get(context), configValue(key, value, at)),
    explain: (errno, { key, value }) => {
      if ('directory' in value) return explainPath('the directory')(errno, { path: value.directory });
      if (errno !== 'EINVAL') return undefined;
      return {
        reason: 'invalid-mount',
        meaning: `the filesystem does not take the option ${key} or its value`,
      };
    },
  },
  createMount: {
    describe: ({ context, as }) => `${as} = fsmount(fsconfig(${context}, FSCONFIG_CMD_CREATE))`,
    apply: ({ context, as }, at) => {
      fsconfig(at.get(context), { by: 'create' });
      at.put(as, fsmount(at.get(context), 1, 0));
    },
    explain: (errno) =>
      errno === 'ENOTBLK'
        ? {
            reason: 'invalid-mount',
            meaning: 'the source must be a block device; an image file needs the option loop',
          }
        : undefined,
  },
  checkWritable: {
    describe: ({ on, userns }) => `check that ${on} is writable${userns ? ` by the root of ${userns}` : ''}`,
    apply: ({ on, userns }, at) => {
      if ((fstatfs(at.get(on)).flags & ST_RDONLY) !== 0) {
        throw new MountError({
          reason: 'not-writable',
          message:
            'the overlay came out read-only: its workdir could not be prepared; upperdir and workdir must be on a ' +
            'writable filesystem, and not on an ID-mapped mount in which the mounting user has no id',
          rolledBack: false,
        });
      }
      const namespace = userns === undefined ? undefined : at.find(userns);
      if (namespace === undefined) return;
      onThread('private', 'tryWriting', { directory: at.get(on).number, user: rootOfNamespace(namespace) });
    },
    explain: (errno, { userns }) =>
      userns === undefined || errno === 'ENOSYS'
        ? undefined
        : {
            reason: 'not-writable',
            meaning:
              'root of the mapping cannot write to the overlay; its upperdir must belong to an id that the mapping has',
          },
  },
};

function textOf(value: ConfigValue): string | undefined {
  if ('source' in value) return value.source;
  if ('string' in value) return value.string;
  return 'directory' in value ? value.directory : undefined;
}

function configValue(key: string, value: ConfigValue, at: Workplace): FsconfigValue {
  if ('fd' in value) return { by: 'fd', key, value: at.get(value.fd) };
  if ('string' in value) return { by: 'string', key, value: value.string };
  if ('directory' in value) return { by: 'string', key, value: value.directory };
  if ('source' in value) {
    return { by: 'string', key, value: filesystemSource(value.of, value.source, at.sources) };
  }
  return { by: 'flag', key };
}
