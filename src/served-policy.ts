// The policy that a process serves by: of a file, kept up to date, or the one that is built in.
import type { Logger } from './observe/logger.ts';
import { DEFAULT_POLICY } from './policy/default.ts';
import { type WatchedPolicy, watchPolicy } from './policy/file.ts';

export interface ServedPolicyOptions {
  readonly file: string | undefined;
  readonly log: Logger;
}

/** @throws Error when the file is missing or wrong: fail closed */
export function servedPolicy({ file, log }: ServedPolicyOptions): WatchedPolicy {
  if (file === undefined) return { current: () => DEFAULT_POLICY, [Symbol.dispose]: () => undefined };
  return watchPolicy({
    file,
    onChange: ({ rules }) => log.info('the policy has changed', { file, rules: rules.length }),
    onProblem: (problem) => log.error('the policy cannot be read', { file, problem }),
  });
}
