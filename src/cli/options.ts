// How the commands read a Mount from their arguments.
import { InvalidArgumentError } from 'commander';
import type { Mount } from '../mount/mount.ts';
import { splitOptions } from '../mount/options.ts';

/** `-o` may be given several times; each value is a comma-separated list. */
export function collectOptions(text: string, before: readonly string[] = []): string[] {
  try {
    return [...before, ...splitOptions(text)];
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

export interface MountFlags {
  readonly types?: string;
  readonly options?: readonly string[];
}

/** Without `-t`, a bind where the options say so; else the type that the image holds, as mount(8). */
export function mountOf(source: string, { types, options = [] }: MountFlags): Mount {
  const isBind = options.includes('bind') || options.includes('rbind');
  const type = types ?? (isBind ? 'bind' : 'auto');
  return { type, source, options };
}
