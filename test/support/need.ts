// What a test needs from the machine. A test that cannot run here is skipped aloud: the reason is printed
// at once and kept for the end of the run (hooks.ts). Where CI is set nothing may be missing that can be had: a suite
// that skips itself green would prove nothing.

import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { kernelIsBefore } from './kernel-version.ts';

export interface Skipped {
  readonly title: string;
  readonly reason: string;
}

/** Every skip of this run. */
export const skipped: Skipped[] = [];

/** Skips the test or hook unless the program is on PATH. To be called with mocha's `this`. */
export function needTool(context: Mocha.Context, tool: string, why: string): void {
  if (!hasTool(tool)) miss(context, `no '${tool}' on PATH: ${why}`);
}

/** Skips the test or hook unless it runs as root. */
export function needRoot(context: Mocha.Context, why: string): void {
  if (process.getuid?.() !== 0) miss(context, `not root: ${why}`);
}

/**
 * Skips the test or hook unless it has the capability of this number (capabilities(7)); in CI too: what the root of a
 * container may not do, nothing that is installed in it can. Test there that it is refused.
 */
export function needCapability(context: Mocha.Context, bit: number, why: string): void {
  if (!hasCapability(bit)) skip(context, `no capability ${bit}: ${why}`);
}

/** Root often lacks some, in a container. */
export function hasCapability(bit: number): boolean {
  const [, effective = '0'] = /^CapEff:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return ((BigInt(`0x${effective}`) >> BigInt(bit)) & 1n) === 1n;
}

/** Skips the test where it turns out that this machine does not allow what it is about, in CI too. */
export function needPermission(context: Mocha.Context, isAllowed: boolean, reason: string): void {
  if (!isAllowed) skip(context, reason);
}

/** Skips the test or hook on an older kernel than this, in CI too: it is about what that does not have. */
export function needKernel(context: Mocha.Context, version: string, why: string): void {
  if (kernelIsBefore(version)) skip(context, `Linux before ${version}: ${why}`);
}

/** Skips the test or hook where a tmpfs cannot be ID-mapped; other filesystems can. */
export const needMappedTmpfs = (context: Mocha.Context): void =>
  needKernel(context, '6.3', 'a tmpfs cannot be ID-mapped');

/** Skips the test or hook where a squashfs cannot be ID-mapped; other filesystems can. */
export const needMappedSquashfs = (context: Mocha.Context): void =>
  needKernel(context, '6.2', 'a squashfs cannot be ID-mapped');

/** Skips the test or hook where a mount that is ID-mapped cannot be mapped again. */
export const needSecondMap = (context: Mocha.Context): void =>
  needKernel(context, '6.15', 'a mount that is ID-mapped cannot be mapped again');

/** Skips the test or hook unless the file is there. */
export function needFile(context: Mocha.Context, path: string, why: string): void {
  if (!existsSync(path)) miss(context, `no ${path}: ${why}`);
}

/**
 * The calls that without-syscalls.ts takes away from this run; empty in any other. What then cannot be done is skipped,
 * in CI too: that it is told apart from a failure is what the run is for.
 */
export const maskedCalls: readonly string[] = (process.env.MASKED_SYSCALLS ?? '').split(',').filter(Boolean);

/** Skips the test as one that cannot be where these calls are missing. */
export function skipMasked(context: Mocha.Context, reason: string): never {
  skipped.push({ title: titleOf(context.test), reason: `without ${maskedCalls.join(', ')}: ${reason}` });
  return context.skip();
}

/** Skips the test or hook where calls are masked: it is about how things are done with all of them, or with none. */
export function needEveryCall(context: Mocha.Context, why: string): void {
  if (maskedCalls.length > 0) skipMasked(context, why);
}

function miss(context: Mocha.Context, reason: string): never {
  if (process.env.CI) throw new Error(`${reason} (CI is set: nothing may be skipped for want of it)`);
  return skip(context, reason);
}

function skip(context: Mocha.Context, reason: string): never {
  const title = titleOf(context.test);
  skipped.push({ title, reason });
  console.log(`skipped: ${title}: ${reason}`);
  return context.skip();
}

/** A hook that skips does so for its whole suite. */
function titleOf(test: Mocha.Runnable | undefined): string {
  if (test === undefined) return '(unknown test)';
  const suite = /^"before (all|each)" hook/.test(test.title) ? test.parent : undefined;
  return (suite ?? test).fullTitle();
}

export function hasTool(tool: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
