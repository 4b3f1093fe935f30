// Does a filesystem answer? The question of answer.ts, for a process that must go on meanwhile: a child process asks, with
// a bound. One that the kernel does not let go of (a server has taken its request and does not answer) outlives even its
// SIGKILL; until it is gone nobody else is sent after it, and the answer is known: none. So a filesystem that hangs costs
// one process, however often it is asked for.
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { type Answer, DEAD, ENDED, NO_ANSWER, question } from './answer.ts';
import { PROGRAM_DIRECTORIES } from './program.ts';

export interface FilesystemProbe extends Disposable {
  /** statfs(2) of the path: its answer, or none within the bound. Never throws. */
  ask(path: string, timeoutMs: number): Promise<Answer>;
}

interface Asking {
  readonly child: ChildProcess;
  readonly answer: Promise<Answer>;
}

export function filesystemProbe(): FilesystemProbe {
  const asking = new Map<string, Asking>();

  function begin(path: string): Asking {
    const [file = '', ...args] = question(path, PROGRAM_DIRECTORIES);
    const { promise, resolve } = Promise.withResolvers<Answer>();
    const child = spawn(file, args, {
      cwd: '/',
      env: { LANG: 'C' },
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    child.unref();
    // Where no more files can be opened there is none, and no end either, only the error.
    (child.stderr as Socket | null | undefined)?.unref();
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk;
    });
    // Nobody could ask: that says nothing of the filesystem.
    child.on('error', () => {
      asking.delete(path);
      resolve({ answers: true });
    });
    child.on('close', () => {
      asking.delete(path);
      resolve(DEAD.test(said) ? ENDED : child.signalCode === 'SIGKILL' ? NO_ANSWER : { answers: true });
    });
    return { child, answer: promise };
  }

  return {
    async ask(path, timeoutMs) {
      const known = asking.get(path);
      const { child, answer } = known ?? begin(path);
      if (known === undefined) asking.set(path, { child, answer });
      // It was given up before, and is there still.
      else if (child.killed) return NO_ANSWER;
      const { promise, resolve } = Promise.withResolvers<Answer>();
      const timer = setTimeout(() => {
        child.kill('SIGKILL');
        resolve(NO_ANSWER);
      }, timeoutMs);
      try {
        return await Promise.race([answer, promise]);
      } finally {
        clearTimeout(timer);
      }
    },
    [Symbol.dispose]() {
      for (const { child } of asking.values()) child.kill('SIGKILL');
    },
  };
}
