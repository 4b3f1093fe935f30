// A program that does what it is asked and measures itself (bench/peer, bench/limit): words to it, times from it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export interface LineProgram extends AsyncDisposable {
  /** @returns what it measured, in ms */
  ask(...words: readonly (string | number)[]): Promise<number[]>;
}

const NS_PER_MS = 1e6;

export function startLineProgram(program: string, args: readonly string[] = []): LineProgram {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'close').then(() => {
    throw new Error(`${program} has ended`);
  });
  ended.catch(() => undefined);
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async ask(...words) {
      child.stdin.write(`${words.join('\t')}\n`);
      const { value = '' } = await Promise.race([answers.next(), ended]);
      const [outcome, ...rest] = value.split('\t');
      if (outcome !== 'ok') throw new Error(`${program}: ${words[0]}: ${rest.join(' ')}`);
      return rest.map((ns: string) => Number(ns) / NS_PER_MS);
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await ended.catch(() => undefined);
    },
  };
}
