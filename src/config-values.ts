// How the values of options are read: a function for each form, which says what is allowed when it refuses.
import path from 'node:path';

type Parse<T> = (text: string) => T;

export function oneOf<const T extends string>(...allowed: T[]): Parse<T> {
  return (text) => {
    const found = allowed.find((candidate) => candidate === text);
    if (found === undefined) throw new Error(`must be one of ${allowed.join(', ')}`);
    return found;
  };
}

/** Empty is not given. */
export function optional<T>(parse: Parse<T>): Parse<T | undefined> {
  return (text) => (text === '' ? undefined : parse(text));
}

/** Separated by commas; empty is none. */
export function listOf<T>(parse: Parse<T>): Parse<readonly T[]> {
  return (text) => Object.freeze(text === '' ? [] : text.split(',').map((item) => parse(item.trim())));
}

export function absolutePath(text: string): string {
  if (!path.isAbsolute(text)) throw new Error('must be an absolute path');
  return path.normalize(text).replace(/(.)\/+$/, '$1');
}

export function limited(bytes: number): Parse<string> {
  return (text) => {
    if (text === '' || Buffer.byteLength(text) > bytes) throw new Error(`must have 1 to ${bytes} bytes`);
    return text;
  };
}

export function wholeNumber(least: number, most: number): Parse<number> {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most)) {
      throw new Error(`must be a whole number from ${least} to ${most}`);
    }
    return value;
  };
}

/** CSI, GetPluginInfoResponse.name: domain name notation, at most 63 characters. */
export function driverName(text: string): string {
  if (text.length > 63 || !/^[a-zA-Z]([-a-zA-Z0-9.]*[a-zA-Z0-9])?$/.test(text)) {
    throw new Error('must be a domain name of at most 63 characters, such as idmap.csi.dev');
  }
  return text;
}

/** Kubernetes, IsQualifiedName: a name of up to 63 characters, below a domain or not. */
export function taintKey(text: string): string {
  const [name = '', ...domains] = text.split('/').reverse();
  const isName = /^(?=.{1,63}$)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(name);
  const isDomain = domains.every((domain) => /^(?=.{1,253}$)[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(domain));
  if (!isName || !isDomain || domains.length > 1) {
    throw new Error('must be the key of a taint, such as idmap.csi.dev/agent-not-ready, or empty for none');
  }
  return text;
}
