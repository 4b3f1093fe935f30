// The value of the key `mounts`: a JSON array of mounts, each an object of keys as in a volume context, and `target`.
// Options may be an array of strings too, as in a Mount of the engine. Pure.
import path from 'node:path';
import { VolumeError } from './errors.ts';
import { KEYS, MOUNTS_KEY } from './keys.ts';
import { nearest } from './nearest.ts';
import { hasControl } from './parse.ts';
import type { Part, PartVolume } from './volume.ts';

/** What belongs to a volume as a whole, or to what the driver makes for it. */
const NOT_IN_PARTS = ['sizeLimit', 'idmap', 'owner', 'nestedDir', 'mkfs', 'size'];

const MOST_PARTS = 64;

/** @throws VolumeError naming the place: `mounts[1].lowerdir` */
export function readParts(
  text: string,
  read: (keys: Readonly<Record<string, string>>) => PartVolume,
): Part[] {
  const parts = entriesOf(text).map((entry, i) => {
    const place = `${MOUNTS_KEY.name}[${i}]`;
    const { target = '', ...keys } = keysOf(entry, place);
    const volume = within(place, () => read(keys));
    if (volume.kind === 'overlay' && volume.writable.is === 'ephemeral') {
      throw new VolumeError(
        `${place}.writable`,
        'ephemeral belongs to a volume of one overlay; use the keys, without mounts',
      );
    }
    return { target: targetOf(target, place), volume };
  });
  if (parts[0]?.target !== '') {
    throw new VolumeError(
      `${MOUNTS_KEY.name}[0].target`,
      'the first mount is the root of the volume; leave its target out',
    );
  }
  const targets = parts.map(({ target }) => target);
  for (const [i, target] of targets.entries()) {
    const earlier = targets.slice(0, i).find((other) => other === target || other.startsWith(`${target}/`));
    if (earlier === undefined) continue;
    const why =
      earlier === target
        ? 'is taken by an earlier mount'
        : `would hide the mount at ${earlier}; put it before`;
    throw new VolumeError(`${MOUNTS_KEY.name}[${i}].target`, `${JSON.stringify(target)} ${why}`);
  }
  return parts;
}

function entriesOf(text: string): readonly unknown[] {
  const wrong = (why: string) =>
    new VolumeError(MOUNTS_KEY.name, `${why}; write a JSON array such as ${MOUNTS_KEY.example}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw wrong(`is no JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (!Array.isArray(value)) throw wrong('is no array');
  if (value.length === 0 || value.length > MOST_PARTS)
    throw wrong(`has ${value.length} mounts, 1 to ${MOST_PARTS} are allowed`);
  return value;
}

function keysOf(entry: unknown, place: string): Record<string, string> {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
    throw new VolumeError(place, 'is no JSON object; write {"source": "/srv/data"}');
  }
  const allowed = ['target', ...Object.keys(KEYS).filter((key) => !NOT_IN_PARTS.includes(key))];
  return Object.fromEntries(
    Object.entries(entry).map(([key, value]) => {
      if (!allowed.includes(key)) {
        const meant = nearest(key, allowed);
        const remedy = NOT_IN_PARTS.includes(key)
          ? 'it belongs to a volume of one mount'
          : meant === undefined
            ? `the keys are ${allowed.join(', ')}`
            : `did you mean ${meant}?`;
        throw new VolumeError(`${place}.${key}`, `no such key of a mount; ${remedy}`);
      }
      return [key, textOf(value, `${place}.${key}`, key === 'options')];
    }),
  );
}

function textOf(value: unknown, place: string, isList: boolean): string {
  if (typeof value === 'string') return value;
  if (isList && Array.isArray(value) && value.every((one) => typeof one === 'string' && !/["\\]/.test(one))) {
    // A quoted option keeps its commas.
    return value.map((one) => (one.includes(',') ? `"${one}"` : one)).join(',');
  }
  throw new VolumeError(
    place,
    isList
      ? 'is no string, nor an array of strings without quotes and backslashes'
      : 'is no string; put it in quotes',
  );
}

/** Below the root, without a way up. */
function targetOf(text: string, place: string): string {
  const target = path.posix.normalize(text === '' ? '.' : text).replace(/^\/+|\/+$/g, '');
  if (text.split('/').includes('..') || hasControl(text)) {
    throw new VolumeError(
      `${place}.target`,
      `${JSON.stringify(text)} must be a path below the root, without .. and control characters`,
    );
  }
  return target === '.' ? '' : target;
}

function within<T>(place: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof VolumeError)) throw error;
    throw new VolumeError(`${place}.${error.field}`, error.problem);
  }
}
