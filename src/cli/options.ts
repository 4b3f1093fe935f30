// How the commands read a Mount from their arguments.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { messageOf } from '../mount/errors.ts';
import type { KernelOptions, MountApi } from '../mount/kernel.ts';
import type { Mount } from '../mount/mount.ts';
import { splitOptions } from '../mount/options.ts';
import { isFuseType } from '../mount/plan/fuse.ts';
import { type FeatureName, featureNamed } from '../sys/features.ts';

/** `-o` may be given several times; each value is a comma-separated list. */
export function collectOptions(text: string, before: readonly string[] = []): string[] {
  return [...before, ...accepted(splitOptions, text)];
}

export interface MountFlags {
  readonly types?: string;
  readonly options?: readonly string[];
}

/** Without `-t`, a bind where the options say so; else the type that the image holds, as mount(8). */
export function mountOf(source: string, { types, options = [] }: MountFlags): Mount {
  const isBind = options.includes('bind') || options.includes('rbind');
  const type = types ?? (isBind ? 'bind' : 'auto');
  // A helper runs in `/`; whether its source is a path at all is its own affair.
  const isPath = isFuseType(type) && existsSync(source);
  return { type, source: isPath ? path.resolve(source) : source, options };
}

export interface KernelFlags {
  readonly mountApi?: 'auto' | MountApi;
  readonly disableKernelFeature?: readonly FeatureName[];
}

/** Which calls are used, for the commands that make mounts or plan them. */
export function withKernelFlags(command: Command): Command {
  return command
    .addOption(
      new Option('--mount-api <api>', 'which system calls make mounts')
        .choices(['auto', 'modern', 'classic'])
        .default('auto'),
    )
    .addOption(
      new Option(
        '--disable-kernel-feature <name>',
        'do without a feature that doctor lists; may be repeated',
      ).argParser(collectFeatures),
    );
}

function collectFeatures(name: string, before: readonly FeatureName[] = []): FeatureName[] {
  return [...before, accepted(featureNamed, name)];
}

/** What a parser says, said as commander says it. */
function accepted<T>(parse: (text: string) => T, text: string): T {
  try {
    return parse(text);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
}

export function kernelOptionsOf({
  mountApi = 'auto',
  disableKernelFeature = [],
}: KernelFlags): KernelOptions {
  return { api: mountApi === 'auto' ? undefined : mountApi, disabled: disableKernelFeature };
}
