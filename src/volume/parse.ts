// How the values of a volume context are read: one function for each form of value. Each throws a VolumeError that
// names the key, what was given and what is allowed.
import { MountError } from '../mount/errors.ts';
import { type Layer, parseLowerdir } from '../mount/layers.ts';
import { splitOptions } from '../mount/options.ts';
import { formatIdMapping, MAX_ID, MappingError, parseIdMapping } from '../userns/mapping.ts';
import { VolumeError } from './errors.ts';
import { nearest } from './nearest.ts';

export type Parse<T> = (text: string, key: string) => T;

export function oneOf<const T extends string>(...allowed: T[]): Parse<T> {
  return (text, key) => {
    const found = allowed.find((candidate) => candidate === text);
    if (found !== undefined) return found;
    const meant = nearest(text, allowed);
    const remedy = meant === undefined ? '' : `; did you mean ${meant}?`;
    throw new VolumeError(key, `${JSON.stringify(text)} is not one of ${allowed.join(', ')}${remedy}`);
  };
}

export const parsePath: Parse<string> = (text, key) => {
  const problem = pathProblem(text);
  if (problem !== undefined) throw new VolumeError(key, `${JSON.stringify(text)} ${problem}`);
  return text;
};

/** What a helper mounts: a path, or a name of its own kind (`user@host:/directory`). */
export const parseSource: Parse<string> = (text, key) => {
  if (text.startsWith('/')) return parsePath(text, key);
  if (text === '' || hasControl(text)) {
    throw new VolumeError(key, `${JSON.stringify(text)} is empty or has a control character in it`);
  }
  if (text.startsWith('-')) {
    throw new VolumeError(key, `${JSON.stringify(text)} begins with -, and could be taken for a flag`);
  }
  return text;
};

export const parseLayers: Parse<readonly Layer[]> = (text, key) => {
  const layers = invalidAs(key, () => parseLowerdir(text, key));
  for (const { path } of layers) {
    const problem = pathProblem(path);
    if (problem !== undefined) throw new VolumeError(key, `layer ${JSON.stringify(path)} ${problem}`);
  }
  return layers;
};

export const parseOptionList: Parse<readonly string[]> = (text, key) => {
  if (hasControl(text)) throw new VolumeError(key, `${JSON.stringify(text)} has a control character in it`);
  return invalidAs(key, () => splitOptions(text));
};

export const parseMapping: Parse<string> = (text, key) =>
  invalidAs(key, () => formatIdMapping(parseIdMapping(text, key)));

export interface Owner {
  readonly uid: number;
  readonly gid: number | undefined;
}

/** `uid[:gid]` */
export const parseOwner: Parse<Owner> = (text, key) => {
  const [, uid, gid] = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(text) ?? [];
  const ids = [uid, gid].filter((id) => id !== undefined).map(Number);
  if (uid === undefined || ids.some((id) => id > MAX_ID)) {
    throw new VolumeError(
      key,
      `${JSON.stringify(text)} is not uid or uid:gid, such as 1000:1000; ids are 0 to ${MAX_ID}`,
    );
  }
  return { uid: Number(uid), gid: gid === undefined ? undefined : Number(gid) };
};

/** One name of a directory. */
export const parseName: Parse<string> = (text, key) => {
  if (!/^[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$/.test(text)) {
    throw new VolumeError(
      key,
      `${JSON.stringify(text)} is no plain name: 1 to 63 letters, digits and . _ -, not beginning with . or -`,
    );
  }
  return text;
};

export const parseBoolean: Parse<boolean> = (text, key) => oneOf('true', 'false')(text, key) === 'true';

const POWERS: Readonly<Record<string, number>> = {
  ...{ '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50 },
};

/**
 * A Kubernetes quantity in bytes, rounded up (apimachinery, resource.Quantity). Neither milli-bytes nor exa-bytes:
 * nobody means them.
 */
export const parseQuantity: Parse<number> = (text, key) => {
  const [, digits, exponent, unit = ''] =
    /^(\d+(?:\.\d+)?)(?:[eE](\d{1,2})|(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P))?$/.exec(text) ?? [];
  const bytes = Math.ceil(
    Number(digits) * (exponent === undefined ? (POWERS[unit] ?? 1) : 10 ** Number(exponent)),
  );
  if (digits === undefined || !Number.isSafeInteger(bytes) || bytes === 0) {
    throw new VolumeError(key, `${JSON.stringify(text)} is no size; write a quantity such as 64Mi or 10Gi`);
  }
  return bytes;
};

function pathProblem(path: string): string | undefined {
  if (hasControl(path)) return 'has a control character in it';
  if (!path.startsWith('/')) return 'is not an absolute path';
  if (path.split('/').includes('..')) return 'must not contain ..; write the path that is meant';
  return undefined;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
export const hasControl = (text: string): boolean => /[\0-\x1f\x7f]/.test(text);

/** The engine's own parsers name the field in their messages already. */
function invalidAs<T>(key: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof MountError || error instanceof MappingError)) throw error;
    throw new VolumeError(key, error.message.replace(new RegExp(`^${key}:? `), ''));
  }
}
