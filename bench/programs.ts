// Builds what the benchmarks compare with, in .tools/bin, where the compilers are. Quick where nothing has changed.
//
//   peer/     Go: containerd's mount code, a CSI driver over k8s.io/mount-utils, and who calls CSI drivers
//   limit/    C: the bare system calls
//   dist/     our own bundle, as it is shipped
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface Programs {
  readonly containerd: string;
  readonly csiDriver: string;
  readonly csiCallers: string;
  readonly limit: string;
  /** Our own. */
  readonly main: string;
}

export type Built = Programs | { readonly lacking: string };

const root = join(import.meta.dirname, '..');
const bin = join(root, '.tools/bin');
const run = promisify(execFile);

export async function buildPrograms(): Promise<Built> {
  await mkdir(bin, { recursive: true });
  const build = join(root, 'scripts/build.ts');
  await run(process.execPath, [build], { cwd: root });
  const inBin = (name: string) => join(bin, name);
  const limit = inBin('bench-limit');
  try {
    await run('gcc', ['-O2', '-o', limit, join(import.meta.dirname, 'limit/limit.c')]);
  } catch (error) {
    return { lacking: `no working gcc: ${reasonOf(error)}` };
  }
  const [containerd, csiDriver, csiCallers] = ['containerd', 'csi-driver', 'csi-callers'].map((name) =>
    inBin(`bench-${name}`),
  ) as [string, string, string];
  try {
    const cwd = join(import.meta.dirname, 'peer');
    const env = { ...process.env, CGO_ENABLED: '0' };
    for (const path of [containerd, csiDriver, csiCallers]) {
      const name = path.slice(inBin('bench-').length);
      await run('go', ['build', '-trimpath', '-o', path, `./${name}`], { cwd, env });
    }
  } catch (error) {
    return { lacking: `the peers cannot be built by Go: ${reasonOf(error)}` };
  }
  return { containerd, csiDriver, csiCallers, limit, main: join(root, 'dist/main.mjs') };
}

function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split('\n').slice(0, 3).join('; ');
}
