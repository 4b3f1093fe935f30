// Tools of the tests that are written in Go: installed once into .tools/bin of the checkout, at one version,
// by the machine's own Go. Nothing is downloaded while the wanted version is there.

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

const directory = join(import.meta.dirname, '../../.tools/bin');

/** Undefined where there is no such file. */
async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}
