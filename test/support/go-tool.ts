// Tools of the tests that are written in Go, in .tools/bin of the checkout, made by the machine's own Go.
//
//   goTool      of others: installed once, at one version. Nothing is downloaded while that is there
//   goProgram   ours, in test/peer, that stands on modules of others

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { hasTool, needTool } from './need.ts';

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
  if (!(await isBuilt(tool))) {
    needTool(context, 'go', `${module}@${version} has to be built`);
    if (cgo) needTool(context, 'cc', `${module}@${version} has to be built`);
  }
  return buildGoTool(tool);
}

/** The same outside of tests. */
export async function buildGoTool(tool: GoTool): Promise<string> {
  const { module, version, cgo = false } = tool;
  const name = basename(module);
  const path = join(directory, name);
  const wanted = `${module}@${version}`;
  if (await isBuilt(tool)) return path;

  console.log(`installing ${wanted} into .tools/bin`);
  await builtAside(name, async (building) => {
    const env = { ...process.env, GOBIN: building, CGO_ENABLED: cgo ? '1' : '0' };
    await run('go', ['install', wanted], { env });
  });
  await writeFile(markerOf(path), wanted);
  return path;
}

const isBuilt = async ({ module, version }: GoTool): Promise<boolean> =>
  (await textOf(markerOf(join(directory, basename(module))))) === `${module}@${version}`;

const markerOf = (path: string): string => `${path}.version`;

/**
 * A program of test/peer, built by the machine's own Go, which is quick where nothing has changed; without Go the one that
 * is there already, as on the machines of test/old-kernels. Its path.
 */
export async function goProgram(
  context: Mocha.Context,
  name: string,
  tags: readonly string[] = [],
): Promise<string> {
  if (!hasTool('go') && existsSync(join(directory, name))) return join(directory, name);
  needTool(context, 'go', `test/peer/${name} has to be built`);
  return buildGoProgram(name, tags);
}

/** The same outside of tests. */
export async function buildGoProgram(name: string, tags: readonly string[] = []): Promise<string> {
  await builtAside(name, async (building) => {
    const args = ['build', '-trimpath', '-tags', tags.join(','), '-o', join(building, name), '.'];
    const cwd = join(import.meta.dirname, '../peer', name);
    await run('go', args, { cwd, env: { ...process.env, CGO_ENABLED: '0' } });
  });
  return join(directory, name);
}

/** And moved into place: another process may be running, or building, the same program. */
async function builtAside(name: string, build: (directory: string) => Promise<void>): Promise<void> {
  await mkdir(directory, { recursive: true });
  const building = await mkdtemp(join(directory, `.${name}-`));
  try {
    await build(building);
    await rename(join(building, name), join(directory, name));
  } finally {
    await rm(building, { recursive: true });
  }
}

const run = promisify(execFile);
const directory = join(import.meta.dirname, '../../.tools/bin');

/** Undefined where there is no such file. */
async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}
