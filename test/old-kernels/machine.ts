// A machine by qemu, for the length of a job: its output passes through, its exit status is that of the job. All it
// writes to its disks is thrown away, by qemu's own temporary file.
//
//   KVM         where the device is there, and a kernel gets as far as its first line: some sandboxes have one that
//               takes a machine and never runs it
//   emulation   else; ten to twenty times slower
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export type Accelerator = 'kvm' | 'emulation';

export interface MachineSpec {
  readonly kernel: string;
  readonly root: string;
  readonly checkout: string;
  /** Where the checkout is mounted. */
  readonly checkoutPath: string;
  readonly processors: number;
  readonly memory: string;
  readonly limitMs: number;
  /** For the files that say what has become of it. */
  readonly directory: string;
}

export type Outcome =
  | { readonly ended: true; readonly status: number }
  | { readonly ended: false; readonly why: string; readonly console: string };

/** Whether a machine by KVM says anything at all. */
export async function accelerator(kernel: string, directory: string): Promise<Accelerator> {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return 'emulation';
  }
  const said = join(directory, 'kvm');
  const child = spawn(
    'qemu-system-x86_64',
    [...by('kvm'), ...boot(kernel, ''), '-m', '512', '-serial', `file:${said}`],
    {
      stdio: 'ignore',
    },
  );
  const deadline = performance.now() + FIRST_LINE_MS;
  const speaks = () => /Linux version/.test(textOf(said));
  while (child.exitCode === null && !speaks() && performance.now() < deadline) await delay(100);
  await end(child);
  return speaks() ? 'kvm' : 'emulation';
}

/** A kernel by KVM says its first line within one. */
const FIRST_LINE_MS = 10_000;

export async function runMachine(
  spec: MachineSpec,
  accelerator: Accelerator,
  signal: AbortSignal,
): Promise<Outcome> {
  const { kernel, root, checkout, checkoutPath, processors, memory, limitMs, directory } = spec;
  const [console, status] = [join(directory, 'console'), join(directory, 'status')];
  for (const file of [console, status]) rmSync(file, { force: true });
  const arguments_ = [
    ...by(accelerator),
    ...boot(kernel, `root=/dev/nvme0n1 rw init=/machine-init checkout=${checkoutPath}`),
    ...['-smp', String(processors), '-m', memory],
    ...drive('root', root, 'nvme,serial=1'),
    ...drive('checkout', checkout, 'virtio-blk-pci'),
    ...['-serial', `file:${console}`, '-chardev', 'stdio,id=job,signal=off', '-serial', 'chardev:job'],
    ...['-serial', `file:${status}`],
  ];
  const child = spawn('qemu-system-x86_64', arguments_, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, TMPDIR: directory },
  });
  const limit = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
  const stop = () => child.kill('SIGKILL');
  limit.addEventListener('abort', stop, { once: true });
  try {
    await once(child, 'exit');
  } finally {
    limit.removeEventListener('abort', stop);
    await end(child);
  }
  const [, number] = /^(\d+)\s*$/.exec(textOf(status)) ?? [];
  if (number !== undefined) return { ended: true, status: Number(number) };
  const why = limit.aborted
    ? signal.aborted
      ? 'it was interrupted'
      : `it took longer than ${limitMs / 60_000} minutes`
    : 'the machine went down before the job had ended';
  return { ended: false, why, console: textOf(console) };
}

/** Each of a kind of its own: two of one kind get their names in the order in which the kernel comes across them. */
function drive(id: string, file: string, device: string): string[] {
  return [
    '-drive',
    `file=${file},format=raw,if=none,id=${id},snapshot=on`,
    '-device',
    `${device},drive=${id}`,
  ];
}

function by(accelerator: Accelerator): string[] {
  if (accelerator === 'kvm') return ['-accel', 'kvm', '-cpu', 'host'];
  // Much of what runs is code that V8 has just made: a large buffer keeps its translation. What is left out of the processor
  // makes others look up pages more slowly, or forget what was looked up. The processors take turns: where each has a thread,
  // one may run what another has patched since (Oops: int3, at a static key), in the kernel as in what V8 compiles.
  return ['-accel', 'tcg,thread=single,tb-size=1024', '-cpu', 'max,la57=off,pku=off'];
}

/**
 * A processor that waits for its turn on a busy host is neither broken nor late, and its ciphers need no test. Its counter of
 * cycles is the host's, which goes on where the host itself is stopped for a while: every deadline would be over.
 */
const CALM = 'clocksource=acpi_pm tsc=unstable no_timer_check nowatchdog cryptomgr.notests';

function boot(kernel: string, more: string): string[] {
  const line = `console=ttyS0 panic=-1 mitigations=off random.trust_cpu=on ${CALM} ${more}`;
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', kernel, '-append', line],
  ];
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
