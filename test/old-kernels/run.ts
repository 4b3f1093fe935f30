// Runs tests on an older kernel, in a machine by qemu: `make test-kernel`. By environment variables:
//
//   KERNEL        6.1 or 6.12: Debian's cloud kernels
//   FILES         which test files, as globs with spaces between (default: those of `npm run test:root`)
//   COMMAND       in place of the tests: what a shell in the checkout is to run
//   PROCESSORS    of the machine (default 2)
//   MEMORY        of the machine (default 3G)
//   LIMIT         minutes that it may take (default 90)
//   FILE_LIMIT    minutes that one file may take, before it is given up as one that hangs (default 20)
//   ACCELERATOR   kvm or emulation (default: kvm where it works)
//
// The exit status is that of the tests. Nothing is left but what is kept in .tools/old-kernels (disks.ts).
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { buildGoProgram, buildGoTool } from '../support/go-tool.ts';
import { hasTool } from '../support/need.ts';
import { buildNriHost } from '../support/nri-host.ts';
import { RUNC } from '../support/runc.ts';
import { checkoutDisk, KERNEL_NAMES, systemDisks } from './disks.ts';
import { type Accelerator, accelerator, runMachine } from './machine.ts';

const CHECKOUT = join(import.meta.dirname, '../..');
/** What the host calls. */
const PACKAGES = ['qemu-system-x86', 'debootstrap', 'e2fsprogs', 'git'];
/** How much slower an emulated machine is; the tests' timeouts allow for it. */
const TIME_SCALE: Readonly<Record<Accelerator, number>> = { kvm: 1, emulation: 15 };

const started = performance.now();
const { env } = process;
const kernel = KERNEL_NAMES.find((name) => name === env.KERNEL) ?? usage('KERNEL', KERNEL_NAMES.join(' or '));
const limit = Number(env.LIMIT || 90);
if (!(limit > 0)) usage('LIMIT', 'a number of minutes');
const fileLimit = Number(env.FILE_LIMIT || 20);
if (!(fileLimit > 0)) usage('FILE_LIMIT', 'a number of minutes');
if (process.getuid?.() !== 0) usage('the user', 'root: the disks have files of other owners');

execFileSync(join(CHECKOUT, 'scripts/install-tools'), PACKAGES, { stdio: 'inherit' });
if (hasTool('go')) {
  say('building what the tests have in Go');
  await Promise.all([buildGoTool(RUNC), buildNriHost(), buildGoProgram('kubelet-registration')]);
} else say('no Go here: the tests with runc, NRI and kubelet’s client are skipped');
const { kernel: image, root } = systemDisks(kernel, say);

mkdirSync(join(CHECKOUT, '.tools'), { recursive: true });
const directory = mkdtempSync(join(CHECKOUT, '.tools/machine-'));
const stopped = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopped.abort());
try {
  const by = acceleratorAsked() ?? (await accelerator(image, directory));
  say('making the disk of the checkout');
  const checkout = checkoutDisk(directory, jobOf(by));
  say(`starting Linux ${kernel} by ${by}, for ${limit} minutes at most`);
  const machine = {
    ...{ kernel: image, root, checkout, checkoutPath: CHECKOUT, directory },
    ...{ processors: Number(env.PROCESSORS || 2), memory: env.MEMORY || '3G', limitMs: limit * 60_000 },
  };
  const outcome = await runMachine(machine, by, stopped.signal);
  if (outcome.ended) process.exitCode = outcome.status;
  else {
    process.exitCode = 1;
    say(`no result: ${outcome.why}. The last it said on its console:\n${outcome.console.slice(-4_000)}`);
  }
  say(`ended with ${process.exitCode}`);
} finally {
  rmSync(directory, { recursive: true, force: true });
}

function jobOf(by: Accelerator): string {
  const command = env.COMMAND || 'node_modules/.bin/node test/run.ts root';
  const variables = {
    CI: env.CI || (hasTool('go') ? 'true' : undefined),
    TEST_FILES: env.FILES,
    TEST_JOB_MINUTES: String(fileLimit),
    TEST_TIME_SCALE: String(TIME_SCALE[by]),
  };
  const exports_ = Object.entries(variables).flatMap(([name, value]) =>
    value ? [`export ${name}='${value.replaceAll("'", `'\\''`)}'`] : [],
  );
  return [...exports_, 'uname -sr', command, ''].join('\n');
}

function acceleratorAsked(): Accelerator | undefined {
  const asked = env.ACCELERATOR;
  if (!asked) return undefined;
  return asked === 'kvm' || asked === 'emulation' ? asked : usage('ACCELERATOR', 'kvm or emulation');
}

function say(line: string): void {
  console.log(`[${((performance.now() - started) / 1000).toFixed(0).padStart(4)} s] ${line}`);
}

function usage(what: string, must: string): never {
  console.error(`test-kernel: ${what} must be ${must}`);
  process.exit(2);
}
