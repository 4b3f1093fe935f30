// The lowerdir of an overlay as text: layers, top first, separated by `:`; after a `::` come data-only layers
// (Documentation/filesystems/overlayfs.rst). A backslash makes the next character plain.
import path from 'node:path';
import { invalidMount } from './errors.ts';

export interface Layer {
  readonly path: string;
  /** Only reachable through redirects of the layers above it. */
  readonly dataOnly: boolean;
}

/** @param field the name of the option or key, for messages */
export function parseLowerdir(text: string, field: string): Layer[] {
  const layers: Layer[] = [];
  let dataOnly = false;
  /** Behind the colon of a `::`. */
  let doubled = false;
  const wrong = (why: string) => invalidMount(`${field} ${JSON.stringify(text)}: ${why}`);
  for (const [i, part] of splitAtColons(text).entries()) {
    if (part === '') {
      if (i === 0 || doubled) throw wrong('an empty path; separate layers by one colon');
      [dataOnly, doubled] = [true, true];
      continue;
    }
    if (dataOnly && !doubled)
      throw wrong('a layer cannot follow data-only layers; separate those by two colons');
    layers.push({ path: part, dataOnly });
    doubled = false;
  }
  if (doubled) throw wrong('an empty path; separate layers by one colon');
  return layers;
}

/** Without the backslashes, behind which a colon is plain. */
function splitAtColons(text: string): string[] {
  if (!text.includes('\\')) return text.split(':');
  const parts: string[] = [];
  let part = '';
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (char === '\\' && i + 1 < text.length) part += text.charAt(++i);
    else if (char === ':') {
      parts.push(part);
      part = '';
    } else part += char;
  }
  return [...parts, part];
}

/** One path as parseLowerdir reads it back. */
export function escapeLayer(path: string): string {
  return path.replace(/[\\:]/g, '\\$&');
}

/** `upperdir=` and `workdir=` take the same escapes (`\,` in an options string), but no separator. */
export function unescapePath(text: string): string {
  return text.replace(/\\(.)/g, '$1');
}

/** The deepest directory that holds all of these, each of them included; `.` where their text tells none. */
export function commonParent(directories: readonly string[]): string {
  const [first = '/', ...others] = directories;
  let parent = path.dirname(first);
  // Above `.`, by its text, is `.`.
  while (parent !== '.' && others.some((other) => !isBelow(other, parent))) parent = path.dirname(parent);
  return parent;
}

function isBelow(directory: string, parent: string): boolean {
  return parent === '/' || directory.startsWith(`${parent}/`);
}
