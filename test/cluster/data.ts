// Data sets of the tests, on the node's own disk, as data of nodes is. The chart shows the driver this directory
// (node/driver).
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DATA_SET } from '../support/data-set.ts';
import { writeFiles } from '../support/fixtures.ts';

export const DATA = '/var/lib/csi-driver-idmap-tests';

/** A path in a data set. */
export type At = (...names: string[]) => string;

/** Two layers with files of several owners, and an empty one to write to; what was there before is gone. */
export function dataSet(name: string): At {
  rmSync(dataOf(name), { recursive: true, force: true });
  writeFiles(dataOf(name), DATA_SET);
  return (...names) => dataOf(name, ...names);
}

/** A path in one of them. */
export const dataOf = (name: string, ...names: readonly string[]): string => join(DATA, name, ...names);

/** Removes all of them. The directory itself stays: the driver's container has it. */
export function removeDataSets(): void {
  if (!existsSync(DATA)) return;
  for (const name of readdirSync(DATA)) rmSync(join(DATA, name), { recursive: true, force: true });
}

/** Directories that were made for a test, where nothing else is in them. */
export function removeEmpty(...paths: readonly string[]): void {
  for (const path of paths) {
    if (existsSync(path) && readdirSync(path).length === 0) rmdirSync(path);
  }
}
