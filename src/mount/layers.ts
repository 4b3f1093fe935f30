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
  let layer = '';
  let dataOnly = false;
  const wrong = (why: string) => invalidMount(`${field} ${JSON.stringify(text)}: ${why}`);
  const finish = () => {
    if (layer === '') throw wrong('an empty path; separate layers by one colon');
    layers.push({ path: layer, dataOnly });
    layer = '';
  };
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    if (char === '\\' && i + 1 < text.length) layer += text.charAt(++i);
    else if (char === ':') {
      finish();
      if (text.charAt(i + 1) === ':') {
        dataOnly = true;
        i++;
      } else if (dataOnly)
        throw wrong('a layer cannot follow data-only layers; separate those by two colons');
    } else layer += char;
  }
  finish();
  return layers;
}

/** One path as parseLowerdir reads it back. */
export function escapeLayer(path: string): string {
  return path.replace(/[\\:]/g, '\\$&');
}

/** `upperdir=` and `workdir=` take the same escapes (`\,` in an options string), but no separator. */
export function unescapePath(text: string): string {
  return text.replace(/\\(.)/g, '$1');
}

/**
 * Options as the data of mount(2): overlay reads `\,` as a comma (ovl_next_opt). An option that has its escapes
 * already, as users write them, keeps them.
 */
export function escapeData(options: readonly string[]): string {
  return options
    .map((option) => option.replace(/\\.|,/g, (found) => (found === ',' ? '\\,' : found)))
    .join(',');
}

/** The deepest directory that holds all of these, each of them included. */
export function commonParent(directories: readonly string[]): string {
  const [first = '/', ...others] = directories;
  let parent = path.dirname(first);
  while (others.some((other) => !isBelow(other, parent))) parent = path.dirname(parent);
  return parent;
}

function isBelow(directory: string, parent: string): boolean {
  return parent === '/' || directory.startsWith(`${parent}/`);
}
