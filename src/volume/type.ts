// The value of the key `type`: which kind of volume it names.
//
//   bind, tmpfs, overlay, image    the kind of that name
//   fuse.HELPER, fuse3.HELPER      fuse
//   any other plain name           a filesystem of the kernel; which ones, policy says
import { helperOfType } from '../mount/fuse/command.ts';
import { VolumeError } from './errors.ts';
import type { VolumeKind } from './volume.ts';

export interface VolumeType {
  readonly name: string;
  readonly kind: Exclude<VolumeKind, 'mounts'>;
  /** Of a FUSE filesystem. */
  readonly helper?: string;
}

/** Words of the engine and of mount(8) that are no filesystem of the kernel, and what is meant by them. */
const OTHER_WORDS: Readonly<Record<string, string>> = {
  auto: 'write image, which finds its filesystem out',
  rbind: 'write bind',
  none: 'write bind, or the filesystem that is meant',
};

const NAMED = ['bind', 'tmpfs', 'overlay', 'image'] as const;

export function parseType(name: string, key: string): VolumeType {
  const kind = NAMED.find((known) => known === name);
  if (kind !== undefined) return { name, kind };
  const helper = helperOfType(name);
  if (helper !== undefined) return { name, kind: 'fuse', helper: helper.name };
  if (Object.hasOwn(OTHER_WORDS, name)) {
    throw new VolumeError(key, `${JSON.stringify(name)} is no type; ${OTHER_WORDS[name]}`);
  }
  if (/^[a-z][a-z0-9_]{1,30}$/.test(name) && !/^fuse/.test(name)) return { name, kind: 'filesystem' };
  throw new VolumeError(
    key,
    `${JSON.stringify(name)} is no type; write ${NAMED.join(', ')}, fuse.HELPER, fuse3.HELPER or a filesystem such as ext4`,
  );
}
