// Makes every generated file of the tree: `npm run generate` writes them, `npm run check-generated` (the
// same with --check) only compares and names what is stale. A generator is one row of the table below;
// it gives its texts and touches nothing, so that checking leaves nothing behind.

import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CHART_FILES, generateChart } from './generate/chart.ts';
import { generateLicences, LICENCES_PAGE } from './generate/licences.ts';
import { generateReference, REFERENCE_PAGES } from './generate/reference.ts';
import { generateRpc } from './generate/rpc.ts';

/** A row: what it is called, which files or whole folders are its own, and how their texts are made. */
interface Generator {
  readonly name: string;
  /** Relative to the root. In a folder that is listed, a file that `make` does not give is stale. */
  readonly outputs: readonly string[];
  /** Path relative to the root -> text. Must depend on files of the tree alone: no dates, no versions but the lockfile's. */
  make(): Promise<Map<string, string>>;
}

const root = fileURLToPath(new URL('..', import.meta.url));

const generators: readonly Generator[] = [
  {
    name: 'protobuf types',
    outputs: ['src/rpc/generated'],
    make: () => generateRpc(root),
  },
  {
    name: 'reference pages',
    outputs: REFERENCE_PAGES,
    make: async () => generateReference(),
  },
  {
    name: 'chart',
    outputs: CHART_FILES,
    make: () => generateChart(root),
  },
  {
    name: 'licences',
    outputs: [LICENCES_PAGE],
    make: () => generateLicences(root),
  },
];

const check = process.argv.includes('--check');
const unknown = process.argv.slice(2).filter((argument) => argument !== '--check');
if (unknown.length > 0) {
  console.error(`generate: unknown argument ${unknown.join(' ')}; the only one is --check`);
  process.exit(2);
}

const stale: string[] = [];
for (const generator of generators) {
  const made = await generator.make();
  assertOwned(generator, made);
  for (const [path, text] of made) {
    if ((await readIfThere(path)) !== text) await settle(generator, path, text);
  }
  for (const path of await existing(generator.outputs)) {
    if (!made.has(path)) await settle(generator, path, undefined);
  }
}

if (stale.length > 0) {
  console.error(`Stale generated files:\n${stale.map((line) => `  ${line}`).join('\n')}`);
  console.error('Run `npm run generate` and commit the result.');
  process.exitCode = 1;
}

/** Brings one differing file to what it should be (no text: it should not be), or notes that it is stale. */
async function settle(generator: Generator, path: string, text: string | undefined): Promise<void> {
  if (check) {
    stale.push(`${path} (${generator.name}${text === undefined ? '; no longer generated' : ''})`);
    return;
  }
  if (text === undefined) {
    await rm(join(root, path));
    console.log(`removed ${path}`);
    return;
  }
  await mkdir(dirname(join(root, path)), { recursive: true });
  await writeFile(join(root, path), text);
  console.log(`wrote ${path}`);
}

function assertOwned(generator: Generator, made: Map<string, string>): void {
  for (const path of made.keys()) {
    if (!generator.outputs.some((output) => path === output || path.startsWith(`${output}/`))) {
      throw new Error(`generator '${generator.name}' made ${path}, which is not among its outputs`);
    }
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  return readFile(join(root, path), 'utf8').catch(absent);
}

/** The files that are there among or below the given outputs, relative to the root. */
async function existing(outputs: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const output of outputs) {
    const info = await stat(join(root, output)).catch(absent);
    if (info?.isDirectory()) {
      const entries = await readdir(join(root, output), { recursive: true, withFileTypes: true });
      const files = entries.filter((entry) => !entry.isDirectory());
      found.push(...files.map((entry) => relative(root, join(entry.parentPath, entry.name))));
    } else if (info !== undefined) {
      found.push(output);
    }
  }
  return found.sort();
}

function absent(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}
