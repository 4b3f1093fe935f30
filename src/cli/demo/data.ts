// The demo's data set: real files of this machine, copied into three layers with three owners.
import { chownSync, copyFileSync, lchownSync, mkdirSync, opendirSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';

export interface Layer {
  readonly name: string;
  /** Owner and group of every file in it. */
  readonly owner: number;
  readonly directory: string;
  readonly files: readonly string[];
}

const SOURCE = '/usr/share';
const FILES_PER_LAYER = 120;
const LARGEST_BYTES = 64 * 1024;
const OWNERS = [
  { name: 'site', owner: 1000 },
  { name: 'model', owner: 33 },
  { name: 'base', owner: 0 },
];

/** Top layer first. Each holds files of its own below a directory with its name. */
export function makeLayers(root: string): Layer[] {
  const files = take(walk(SOURCE), FILES_PER_LAYER * OWNERS.length);
  return OWNERS.map(({ name, owner }, i) => {
    const directory = path.join(root, 'layers', name);
    const mine = files.slice(i * FILES_PER_LAYER, (i + 1) * FILES_PER_LAYER);
    const copies = mine.map((file, number) => {
      const copy = path.join(name, `${String(number).padStart(3, '0')}-${path.basename(file)}`);
      mkdirSync(path.join(directory, name), { recursive: true });
      copyFileSync(file, path.join(directory, copy));
      return copy;
    });
    chownAll(directory, owner);
    return { name, owner, directory, files: copies };
  });
}

function* walk(directory: string): Generator<string> {
  using entries = opendirSync(directory);
  for (let entry = entries.readSync(); entry !== null; entry = entries.readSync()) {
    const file = path.join(directory, entry.name);
    if (entry.isDirectory()) yield* walk(file);
    else if (entry.isFile() && statSync(file).size <= LARGEST_BYTES) yield file;
  }
}

function take(files: Generator<string>, count: number): string[] {
  return files.take(count).toArray();
}

function chownAll(directory: string, owner: number): void {
  chownSync(directory, owner, owner);
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    lchownSync(path.join(directory, name), owner, owner);
  }
}
