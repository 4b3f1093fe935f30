// Tools of the tests that are written in Go, in .tools/bin of the checkout, made by the machine's own Go.
//
//   goTool      of others: installed once, at one version. Nothing is downloaded while that is there
//   goProgram   ours, in test/peer, that stands on modules of others

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { needTool } from './need.ts';

export interface GoTool {
  /** The import path of the command; its last part is the name of the program. */
  readonly module: string;
  readonly version: string;
  /** Built with a C compiler: parts of it are in C. */
  readonly cgo?: boolean;
}

/** The path of the program. Skips the test or hook where neither it nor Go is there. */
export async function goTool(context: Mocha.Context, tool: GoTool): Promise<string> {
  const { module, version, cgo = false } = tool;
  const name = basename(module);
  const path = join(directory, name);
  const marker = `${path}.version`;
  const wanted = `${module}@${version}`;
  if ((await textOf(marker)) === wanted) return path;

  needTool(context, 'go', `${wanted} has to be built`);
  if (cgo) needTool(context, 'cc', `${wanted} has to be built`);
  console.log(`installing ${wanted} into .tools/bin`);
  await mkdir(directory, { recursive: true });
  // Built aside and moved into place: another process may be running, or building, the same tool.
  const building = await mkdtemp(join(directory, `.${name}-`));
  try {
    const env = { ...process.env, GOBIN: building, CGO_ENABLED: cgo ? '1' : '0' };
    await promisify(execFile)('go', ['install', wanted], { env });
    await rename(join(building, name), path);
  } finally {
    await rm(building, { recursive: true });
  }
  await writeFile(marker, wanted);
  return path;
}

/** A program of test/peer, built by the machine's own Go, which is quick where nothing has changed. Its path. */
export async function goProgram(
  context: Mocha.Context,
  name: string,
  { tags = [] }: { readonly tags?: readonly string[] } = {},
): Promise<string> {
  needTool(context, 'go', `test/peer/${name} has to be built`);
  const path = join(directory, name);
  await mkdir(directory, { recursive: true });
  const args = ['build', '-trimpath', '-tags', tags.join(','), '-o', path, '.'];
  const cwd = join(import.meta.dirname, '../peer', name);
  await promisify(execFile)('go', args, { cwd, env: { ...process.env, CGO_ENABLED: '0' } });
  return path;
}

const directory = join(import.meta.dirname, '../../.tools/bin');

/** Undefined where there is no such file. */
async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}
