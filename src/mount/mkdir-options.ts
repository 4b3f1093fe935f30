// The option `mkdir=NAME` of a tmpfs: a directory that is there before anyone sees the filesystem, so that something can
// be mounted on it even if the filesystem is read-only. Given several times, there are several. Pure.
import { invalidMount } from './errors.ts';

export interface TakenDirectories {
  /** Each once, in the order given. */
  readonly directories: readonly string[];
  readonly rest: readonly string[];
}

/** @throws MountError (invalid-mount) */
export function takeDirectories(data: readonly string[]): TakenDirectories {
  const isOurs = (option: string) => option === 'mkdir' || option.startsWith('mkdir=');
  const names = data.filter(isOurs).map((option) => nameOf(option.slice('mkdir='.length), option));
  return { directories: [...new Set(names)], rest: data.filter((option) => !isOurs(option)) };
}

/** NAME_MAX, in bytes. */
const LONGEST = 255;

function nameOf(name: string, option: string): string {
  if (
    name !== '' &&
    name !== '.' &&
    name !== '..' &&
    !/[/\0]/.test(name) &&
    Buffer.byteLength(name) <= LONGEST
  )
    return name;
  throw invalidMount(
    `${option}: must be one name of a directory, without a slash, and not . or ..; repeat the option for several`,
  );
}
