// The API server's own code, as a program in Go (test/peer/api-server), built once for a run.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { needTool } from '../support/need.ts';
import type { KubernetesObject } from './helm.ts';

export interface Question {
  /** To be decoded strictly. */
  readonly objects?: readonly unknown[];
  readonly policy?: KubernetesObject | undefined;
  readonly pods?: readonly unknown[];
}

export interface Said {
  /** Objects with fields that there are not, by what it says. */
  readonly unknown: readonly string[];
  /** Expressions of the policy that do not compile. */
  readonly uncompiled: readonly string[];
  /** For each pod why it is refused; empty when it is not. */
  readonly decisions: readonly string[];
}

const SOURCE = join(import.meta.dirname, '../peer/api-server');
const PROGRAM = join(import.meta.dirname, '../../.tools/bin/peer-api-server');

/** Skips the test or hook without Go. The first call of a checkout compiles it, which takes minutes. */
export async function apiServer(context: Mocha.Context): Promise<(question: Question) => Promise<Said>> {
  context.timeout('20m');
  needTool(context, 'go', "the API server's code is in Go");
  const env = { ...process.env, CGO_ENABLED: '0' };
  await promisify(execFile)('go', ['build', '-o', PROGRAM, '.'], { cwd: SOURCE, env, maxBuffer: 2 ** 24 });
  return async ({ objects = [], policy, pods = [] }) => {
    const running = promisify(execFile)(PROGRAM, { maxBuffer: 2 ** 24 });
    running.child.stdin?.end(JSON.stringify({ objects, policy, pods }));
    const { unknown, uncompiled, decisions } = JSON.parse((await running).stdout);
    return { unknown: unknown ?? [], uncompiled: uncompiled ?? [], decisions: decisions ?? [] };
  };
}
