// The command line as its users have it: run to its end, with what it wrote to either side.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

export const PROGRAM = join(import.meta.dirname, '../../bin/csi-driver-idmap');

export interface CommandResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Runs it: `runuser -u nobody --`. */
  readonly wrapper?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

export function run(args: readonly string[], { wrapper = [], env = {} }: CommandOptions = {}): CommandResult {
  const [command = PROGRAM, ...rest] = [...wrapper, PROGRAM, ...args];
  const { status, stdout, stderr, error } = spawnSync(command, rest, {
    encoding: 'utf8',
    env: { ...plainEnvironment(), ...env },
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** The wrapper that takes all privileges away; needs root and `runuser`. */
export const AS_NOBODY = ['runuser', '-u', 'nobody', '--'];

export function expectSuccess({ status, stderr }: CommandResult): void {
  expect({ status, stderr }).to.deep.equal({ status: 0, stderr: '' });
}

/** Failed with one line on standard error, and nothing on the other side. */
export function expectFailure({ status, stdout, stderr }: CommandResult, message: RegExp): void {
  expect(stderr).to.match(message);
  expect(stderr.trimEnd().split('\n'), 'lines on standard error').to.have.length(1);
  expect({ status, stdout }).to.deep.equal({ status: 1, stdout: '' });
}

/** Settings of the machine's user are not to change what the program does here. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(CSI_IDMAP_|KUBE)/.test(name)));
}
