// Makes a system call of running processes fail from outside, by strace(1).
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Errno } from '../support/faults/plausible.ts';

export interface Trace {
  begin(): Promise<void>;
  /** Whether it has happened. */
  end(): Promise<boolean>;
}

/** Whether the strace that is installed knows the call, which may be newer. */
export const isTraceable = (call: string): boolean =>
  spawnSync('strace', ['-o', '/dev/null', '-e', `trace=${call}`, 'true'], { stdio: 'ignore' }).status === 0;

/** The first of these calls of each of the processes, from `begin` to `end`. */
export function failBelow(pids: readonly number[], call: string, errno: Errno): Trace {
  const said: string[] = [];
  let child: ReturnType<typeof spawn> | undefined;
  return {
    async begin() {
      const inject = ['-e', `trace=${call}`, '-e', `inject=${call}:error=${errno}:when=1`];
      const strace = spawn('strace', ['-f', ...inject, ...pids.flatMap((pid) => ['-p', String(pid)])], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      child = strace;
      const attached = Promise.withResolvers<void>();
      let count = 0;
      createInterface({ input: strace.stderr }).on('line', (line) => {
        said.push(line);
        if (/^strace: Process \d+ attached/.test(line) && ++count >= pids.length) attached.resolve();
      });
      once(strace, 'close').then(() => attached.reject(new Error(`strace ended: ${said.join('\n')}`)));
      await attached.promise;
    },
    async end() {
      if (child === undefined) throw new Error('it has not begun');
      const closed = once(child, 'close');
      child.kill('SIGINT');
      await closed;
      return said.some((line) => line.includes('(INJECTED)'));
    },
  };
}
