// Builds what the benchmarks compare with, in .tools/bench. Quick where nothing has changed.
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
const bin = join(root, '.tools/bench');
const run = promisify(execFile);

export async function buildPrograms(): Promise<Built> {
  await mkdir(bin, { recursive: true });
  const programs = {
    containerd: join(bin, 'containerd'),
    csiDriver: join(bin, 'csi-driver'),
    csiCallers: join(bin, 'csi-callers'),
    limit: join(bin, 'limit'),
    main: join(root, 'dist/main.mjs'),
  };
  const env = { ...process.env, CGO_ENABLED: '0' };
  const cwd = join(import.meta.dirname, 'peer');
  try {
    await run(process.execPath, [join(root, 'scripts/build.ts')], { cwd: root });
    await run('gcc', ['-O2', '-o', programs.limit, join(import.meta.dirname, 'limit/limit.c')]);
    await run('go', ['build', '-trimpath', '-o', bin, './...'], { cwd, env });
  } catch (error) {
    return {
      lacking: `what is measured cannot be built (see the head of bench/programs.ts): ${reasonOf(error)}`,
    };
  }
  return programs;
}

function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split('\n').slice(0, 3).join('; ');
}
