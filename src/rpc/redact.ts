// What of a request may be logged. Fields that the proto marks csi_secret are stripped by a table made
// from it; the specification warns of mount_flags without marking them, and Kubernetes puts tokens into
// volume_context. What is of an unknown type is stripped whole. Pure.

import { messages, requestTypes } from './generated/secrets.ts';

/** Stands for a value that was taken out. */
export const stripped = '***stripped***';

/** The message as plain data for a log line: secrets out, bigints as text, a oneof as `{case: value}`. */
export function redact(type: string, message: unknown): unknown {
  return walk(type, message, () => stripped);
}

/** The same for the request of a method, by its path on the wire. */
export function redactRequest(path: string, request: unknown): unknown {
  return redact(typeOfRequest(path), request);
}

/**
 * The secret texts of a request, for keeping them out of messages that others make (scrub.ts). Mount flags
 * are not among them: taking every `ro` out of an error would only make it unreadable.
 */
export function secretTexts(path: string, request: unknown): string[] {
  const found = new Set<string>();
  walk(typeOfRequest(path), request, (value, why) => {
    if (why === 'secret') collect(value, found);
    return undefined;
  });
  return [...found];
}

type Why = 'secret' | 'sensitive';
type Take = (value: unknown, why: Why) => unknown;

/** Not marked in the proto, "MAY contain sensitive information" in its text. */
const sensitiveFields: Record<string, readonly string[]> = {
  'csi.v1.VolumeCapability.MountVolume': ['mountFlags'],
  'fusehost.v1.StartRequest': ['mountFlags'],
};

/** Keys of string maps: csi.storage.k8s.io/serviceAccount.tokens, and what names itself a secret. */
const sensitiveKey = /serviceaccount\.tokens|passw|passphrase|secret|token|credential/i;

function typeOfRequest(path: string): string {
  return Object.hasOwn(requestTypes, path) ? (requestTypes[path] ?? '') : '';
}

function walk(type: string, message: unknown, take: Take): unknown {
  const known = Object.hasOwn(messages, type) ? messages[type] : undefined;
  if (known === undefined || typeof message !== 'object' || message === null) return take(message, 'secret');

  const field = (name: string, value: unknown): unknown => {
    if (isEmpty(value)) return value;
    if (known.secret.includes(name)) return take(value, 'secret');
    if (sensitiveFields[type]?.includes(name)) return take(value, 'sensitive');
    const nested = Object.hasOwn(known.nested, name) ? known.nested[name] : undefined;
    if (nested === undefined) return plain(value, take);
    return Array.isArray(value) ? value.map((item) => walk(nested, item, take)) : walk(nested, value, take);
  };

  return fromEntries(
    Object.entries(message).map(([name, value]) => [
      name,
      // By the table, not by the look of it: a map of secrets may have a key called $case.
      known.oneofs.includes(name) && isOneof(value)
        ? fromEntries([[value.$case, field(value.$case, value.value)]])
        : field(name, value),
    ]),
  );
}

/** A scalar, a list of scalars, a time or a map of strings. */
function plain(value: unknown, take: Take): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  if (Array.isArray(value)) return value.map((item) => plain(item, take));
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  return fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      sensitiveKey.test(key) && !isEmpty(item) ? take(item, 'secret') : item,
    ]),
  );
}

/** A secret's texts: itself, without its final newline, and what is inside when it is JSON (tokens are). */
function collect(value: unknown, found: Set<string>): void {
  if (typeof value === 'string') {
    found.add(value).add(value.trim());
    if (/^\s*[[{]/.test(value)) collect(parsed(value), found);
  } else if (value instanceof Uint8Array) {
    found.add(Buffer.from(value).toString());
  } else if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) collect(item, found);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Not JSON after all: the text itself is known already.
  }
}

function isOneof(value: unknown): value is { $case: string; value: unknown } {
  return typeof value === 'object' && value !== null && '$case' in value && typeof value.$case === 'string';
}

/** That a field was not set is no secret, and good to know. */
function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '') return true;
  return typeof value === 'object' && !(value instanceof Date) && Object.keys(value).length === 0;
}

/** Object.fromEntries, safe for a map with a key of `__proto__`. */
function fromEntries(entries: Iterable<readonly [string, unknown]>): Record<string, unknown> {
  const made: Record<string, unknown> = Object.create(null);
  for (const [key, value] of entries) made[key] = value;
  return made;
}
