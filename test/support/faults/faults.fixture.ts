// Loaded before the plugin (`node --import`), and by it into the processes of its engine: makes one system call fail, with
// the errno that is asked for. Nothing in the plugin knows of it: the calls are those of Node and of libc that it makes.
//
//   engine   system calls by src/sys (the one place where they go through), and what Node's fs and child_process do
//   driver   the same, and fs/promises, by which records are written
//
// A call is known by its site: its name, and the stack of our own source files that led to it. So it is the same from run
// to run, whatever else happens, and a new operation has sites of its own without anybody listing them. Of a site that is
// passed several times (a loop over layers) any one can be asked for.
//
// FAULT_DIRECTORY has two files, opened here, as a thread of the engine sees no other later:
//
//   order   what to do, a line: `record`, or `fail SITE NTH ERRNO`; nothing else happens otherwise
//   log     what was done, a line each: `pid call SITE stack`, or `failed ...`
import childProcess from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import koffi from 'koffi';
import { errnosOf } from './plausible.ts';

const directory = process.env.FAULT_DIRECTORY ?? '';
const isEngine = process.env.FAULT_ENGINE !== undefined;
const orderFile = fs.openSync(join(directory, 'order'), 'r');
const logFile = fs.openSync(join(directory, 'log'), 'a');
const { readSync, writeSync } = fs;
const ORDER_BYTES = 128;
const SOURCES = join(import.meta.dirname, '../../../src/');

interface Order {
  readonly text: string;
  readonly fail?: { readonly site: string; readonly nth: number; readonly errno: string };
}

function orderNow(): Order | undefined {
  const buffer = Buffer.alloc(ORDER_BYTES);
  const text = buffer.toString('latin1', 0, readSync(orderFile, buffer, 0, ORDER_BYTES, 0)).trimEnd();
  const [what, serial, site = '', nth, errno = ''] = text.split(' ');
  if (what === 'record') return { text };
  return what === 'fail' && serial ? { text, fail: { site, nth: Number(nth), errno } } : undefined;
}

/** How often each site was passed under the order that holds. */
const passed = { order: '', times: new Map<string, number>() };

/** The errno with which this call is to fail, by name. */
function faultFor(call: string): string | undefined {
  const errnos = errnosOf(call);
  if (errnos.length === 0) return undefined;
  const order = orderNow();
  if (order === undefined) return undefined;
  const stack = stackOfSources();
  // What the runtime does for itself is not ours.
  if (stack === undefined) return undefined;
  const site = createHash('sha256').update(`${call} ${stack}`).digest('hex').slice(0, 16);
  if (passed.order !== order.text) {
    passed.order = order.text;
    passed.times.clear();
  }
  const times = (passed.times.get(site) ?? 0) + 1;
  passed.times.set(site, times);
  const { fail } = order;
  if (fail === undefined) writeSync(logFile, `${isEngine ? 'engine' : 'driver'} ${call} ${site} ${stack}\n`);
  if (fail === undefined || fail.site !== site || fail.nth !== times) return undefined;
  writeSync(logFile, `failed ${call} ${site} ${stack}\n`);
  return fail.errno;
}

/** The frames of our own sources, innermost first: `sys/syscalls.ts:12:3<mount/loop.ts:7:1`. */
function stackOfSources(): string | undefined {
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = 40;
  const { stack = '' } = new Error();
  Error.stackTraceLimit = before;
  const frames = stack.split('\n').slice(1);
  const outside = frames.filter((frame) => !frame.includes('/test/support/faults/'));
  // Called by Node itself, below one of ours or not: it does what it does for reasons of its own.
  if (!outside[0]?.includes(SOURCES)) return undefined;
  const own = outside.filter((frame) => frame.includes(SOURCES));
  return own.map((frame) => frame.replace(/^.*\/src\//, '').replace(/\)$/, '')).join('<');
}

type AnyFunction = (this: unknown, ...args: unknown[]) => unknown;

class Fault extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;

  constructor(call: string, code: string) {
    super(`${code}: a fault that was asked for, ${call}`);
    this.code = code;
    this.errno = -numberOf(code);
    this.syscall = call;
  }
}

const numberOf = (errno: string): number => {
  const number = constants.errno[errno as keyof typeof constants.errno];
  if (number === undefined) throw new Error(`no errno is called ${errno}`);
  return number;
};

function wrap(owner: object, name: string, fail: (fault: Fault, args: unknown[]) => unknown): void {
  const methods = owner as Record<string, AnyFunction>;
  const original = methods[name];
  if (typeof original !== 'function') return;
  const wrapped: AnyFunction = function (...args) {
    const errno = faultFor(name);
    return errno === undefined ? original.apply(this, args) : fail(new Fault(name, errno), args);
  };
  methods[name] = Object.assign(wrapped, original);
}

const raise = (fault: Fault): never => {
  throw fault;
};

for (const name of Object.keys(fs).filter((one) => one.endsWith('Sync'))) wrap(fs, name, raise);
const rejected = (fault: Fault) => Promise.reject(fault);
for (const name of Object.keys(promises)) if (name !== 'watch') wrap(promises, name, rejected);
wrapHandles();
const { spawn } = childProcess;
/** As Node does: of some errnos it tells by an event and a child without a pid, of others it throws. */
wrap(childProcess, 'spawn', (fault, [, , options]) =>
  ['EMFILE', 'EAGAIN'].includes(fault.code)
    ? spawn('/nonexistent', [], { ...(options as object), stdio: 'ignore' })
    : raise(fault),
);
passOn();
syncBuiltinESMExports();
wrapSystemCalls();

/** Files that are open: what is done to them is done by their own methods. */
function wrapHandles(): void {
  const { open } = promises;
  promises.open = async (...args) => {
    const handle = await open(...args);
    for (const name of ['sync', 'datasync', 'truncate', 'writeFile', 'readFile', 'write', 'read'])
      wrap(handle, name, rejected);
    return handle;
  };
}

/** To the processes of the engine, whose environment is the driver's to choose. */
function passOn(): void {
  const { fork } = childProcess;
  const here = fileURLToPath(import.meta.url);
  // biome-ignore lint/suspicious/noExplicitAny: an overloaded function, called as it was
  childProcess.fork = ((entry: any, args: any, options: any) =>
    fork(entry, args, {
      ...options,
      execArgv: [...(options.execArgv ?? []), '--import', here],
      env: { ...options.env, FAULT_DIRECTORY: directory, FAULT_ENGINE: '1' },
    })) as typeof fork;
}

function wrapSystemCalls(): void {
  const { load, errno } = koffi;
  const names = systemCallNames();
  let pending: number | undefined;
  koffi.errno = ((...args: []) => {
    const now = pending;
    pending = undefined;
    return now ?? errno(...args);
  }) as typeof errno;
  koffi.load = (...args) => {
    const library = load(...args);
    // biome-ignore lint/suspicious/noExplicitAny: as koffi has it
    const func = (...signature: any[]) => {
      // biome-ignore lint/suspicious/noExplicitAny: as koffi has it
      const native = (library.func as any)(...signature);
      const [name] = signature;
      if (name !== 'syscall' && name !== 'clone') return native;
      const faulty = (...values: unknown[]) => {
        pending = undefined;
        const fault = faultFor(
          name === 'syscall' ? (names.get(Number(values[0])) ?? `syscall ${values[0]}`) : name,
        );
        if (fault === undefined) return native(...values);
        pending = numberOf(fault);
        return -1;
      };
      return Object.assign(faulty, native);
    };
    // It lets nothing be assigned.
    return Object.create(library, { func: { value: func } });
  };
}

/** The names of the calls of src/sys by their numbers here, as its own table has them. */
function systemCallNames(): ReadonlyMap<number, string> {
  const table = fs.readFileSync(join(import.meta.dirname, '../../../src/sys/syscalls.ts'), 'utf8');
  const rows = table.matchAll(/\bsyscall\(\s*'(\w+)',\s*(?:(\d+)|\{ x64: (\d+), arm64: (\d+) \})/g);
  const here = process.arch === 'x64' ? 3 : 4;
  return new Map([...rows].map((row) => [Number(row[2] ?? row[here]), String(row[1])] as const));
}
