// Keeps the secrets of a request out of text that somebody else wrote: the message of an error (a failed
// system call prints its arguments), a handler's own log lines. The last line of defence; a request's own
// fields are stripped by redact.ts.

import type { LogFields, Logger } from '../observe/logger.ts';
import { stripped } from './redact.ts';

/** Anything -> the same with the secrets replaced, strings of objects and errors included. */
export type Scrub = <T>(value: T) => T;

export function scrubber(secrets: readonly string[]): Scrub {
  // The longest first, or a secret that is part of another would leave the other's rest behind.
  const texts = [...new Set(secrets.flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)]))]
    .filter((text) => text.length >= shortest)
    .sort((a, b) => b.length - a.length);
  if (texts.length === 0) return (value) => value;
  const replace = (text: string) => texts.reduce((rest, secret) => rest.replaceAll(secret, stripped), text);
  return <T>(value: T) => scrubValue(value, replace, deepest) as T;
}

export function scrubbedLogger(log: Logger, scrub: Scrub): Logger {
  const at =
    (level: 'info' | 'warn' | 'error') =>
    (message: string, fields: LogFields = {}) =>
      log[level](scrub(message), scrub(fields));
  return {
    debug: (message, fields = {}) =>
      log.debug(scrub(message), () => scrub(typeof fields === 'function' ? fields() : fields)),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => scrubbedLogger(log.child(scrub(fields)), scrub),
  };
}

/** Shorter secrets ("on", "id") are part of too many words to be taken out of a sentence. */
const shortest = 4;
/** Log fields are shallow; the bound only stops a ring. */
const deepest = 8;

function scrubValue(value: unknown, replace: (text: string) => string, depth: number): unknown {
  if (typeof value === 'string') return replace(value);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (depth === 0) return stripped;
  const next = (item: unknown) => scrubValue(item, replace, depth - 1);
  if (Array.isArray(value)) return value.map(next);
  if (value instanceof Error) {
    // A plain copy: the logger writes it the same, and the error itself stays as it was thrown.
    const { name, message, cause } = value;
    return next({ ...value, name, message, ...(cause === undefined ? {} : { cause }) });
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [replace(key), next(item)]));
}
