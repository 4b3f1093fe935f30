// Loaded before the plugin (`node --import`), and by it into the processes of its engine: kills both at the nth thing
// that they do which outlives them. Nothing in the plugin knows of it: what it counts are the calls of Node and of libc
// that it makes.
//
//   driver   a file of a record made, a line written to it; one that is to replace it renamed; removed
//   engine   system calls that change mounts, loop devices or names; the same by Node; programs started
//
// CRASH_DIRECTORY has two files, opened here, as a thread of the engine sees no other later: `limit`, n or nothing, and
// `count`, a line for each since it was emptied.
import childProcess from 'node:child_process';
import fs from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { fileURLToPath } from 'node:url';
import { threadId } from 'node:worker_threads';
import koffi from 'koffi';

const directory = process.env.CRASH_DIRECTORY ?? '';
const isEngine = process.env.CRASH_DRIVER !== undefined;
const driver = Number(process.env.CRASH_DRIVER ?? process.pid);
const limitFile = fs.openSync(`${directory}/limit`, 'r');
const countFile = fs.openSync(`${directory}/count`, 'a');
const LINE = 40;
const { readSync, writeSync, fstatSync } = fs;

function happened(what: string): void {
  const buffer = Buffer.alloc(16);
  const limit = Number.parseInt(buffer.toString('utf8', 0, readSync(limitFile, buffer, 0, 16, 0)), 10);
  if (Number.isNaN(limit)) return;
  writeSync(countFile, `${what.slice(0, LINE - 1).padEnd(LINE - 1)}\n`);
  if (fstatSync(countFile).size / LINE < limit) return;
  process.kill(driver, 'SIGKILL');
  process.kill(process.pid, 'SIGKILL');
  // It comes to this thread at the next instruction or soon after: nothing more may happen.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

type AnyFunction = (this: unknown, ...args: unknown[]) => unknown;

/** Tells of the calls of these methods that succeed. */
function watch(
  owner: object,
  names: readonly string[],
  isCounted = (_args: readonly unknown[]) => true,
): void {
  const methods = owner as Record<string, AnyFunction>;
  for (const name of names) {
    const original = methods[name];
    if (original === undefined) throw new Error(`no ${name} to watch`);
    methods[name] = function (this: unknown, ...args) {
      const result = original.apply(this, args);
      const tell = () => {
        if (isCounted(args)) happened(`${name} ${String(args[0]).replaceAll(/\s/g, '').slice(-25)}`);
      };
      if (!(result instanceof Promise)) {
        tell();
        return result;
      }
      return result.then((value) => {
        tell();
        return value;
      });
    };
  }
}

if (isEngine) {
  const names = [
    'mkdir',
    'rmdir',
    'rename',
    'rm',
    'unlink',
    'chown',
    'chmod',
    'fchown',
    'fchmod',
    'ftruncate',
  ];
  watch(
    fs,
    names.map((name) => `${name}Sync`),
  );
  watch(childProcess, ['spawn']);
  watchSystemCalls();
} else {
  watch(promises, ['rename', 'rm', 'unlink'], ([file]) => String(file).includes('/records/'));
  const { open } = promises;
  promises.open = async (...args) => {
    const handle = await open(...args);
    const [file, flags] = args;
    if (!String(file).includes('/records/')) return handle;
    if (Number(flags) & fs.constants.O_CREAT) happened(`open ${String(file).slice(-25)}`);
    watch(handle, ['writeFile']);
    return handle;
  };
  const { fork } = childProcess;
  const here = fileURLToPath(import.meta.url);
  // biome-ignore lint/suspicious/noExplicitAny: an overloaded function, called as it was
  childProcess.fork = ((entry: any, args: any, options: any) =>
    fork(entry, args, {
      ...options,
      execArgv: [...(options.execArgv ?? []), '--import', here],
      env: { ...options.env, CRASH_DIRECTORY: directory, CRASH_DRIVER: String(process.pid) },
    })) as typeof fork;
}
syncBuiltinESMExports();

function watchSystemCalls(): void {
  const LOOP_REQUESTS = new Set([0x4c00, 0x4c01, 0x4c04, 0x4c0a]);
  const EFFECTS: Readonly<Record<number, string>> =
    process.arch === 'x64'
      ? {
          165: 'mount',
          166: 'umount2',
          429: 'move_mount',
          258: 'mkdirat',
          263: 'unlinkat',
          316: 'renameat2',
          265: 'linkat',
          16: 'ioctl',
        }
      : {
          40: 'mount',
          39: 'umount2',
          429: 'move_mount',
          34: 'mkdirat',
          35: 'unlinkat',
          276: 'renameat2',
          37: 'linkat',
          29: 'ioctl',
        };
  const { load } = koffi;
  koffi.load = (...args) => {
    const library = load(...args);
    // biome-ignore lint/suspicious/noExplicitAny: as koffi has it
    const func = (...signature: any[]) => {
      // biome-ignore lint/suspicious/noExplicitAny: as koffi has it
      const native = (library.func as any)(...signature);
      if (signature[0] !== 'syscall') return native;
      const counted = (nr: number, ...values: unknown[]) => {
        const returned = native(nr, ...values);
        const name = EFFECTS[nr];
        const isEffect = name !== undefined && (name !== 'ioctl' || LOOP_REQUESTS.has(Number(values[1])));
        if (returned !== -1 && isEffect) happened(`${name}${threadId === 0 ? '' : ' (thread)'}`);
        return returned;
      };
      return Object.assign(counted, native);
    };
    // It lets nothing be assigned.
    return Object.create(library, { func: { value: func } });
  };
}
