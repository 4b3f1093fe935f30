// Kills the plugin at the nth thing it does that outlives it (support/crash/effects.fixture.ts), and starts it as its
// successor is on a node: in a mount namespace of its own, where what was mounted before has come from the host.
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Plugin } from '../sanity/plugin.ts';
import { startPluginBelow } from './serve.ts';

export interface CrashSwitch {
  /** For startNode(). */
  readonly start: (directory: string) => Promise<Plugin>;
  /** From now on things are counted; the plugin does not outlive the nth. */
  arm(n: number): void;
  /** What has happened since. */
  disarm(): string[];
  /** The boot that the next plugins find themselves in; undefined: the real one. */
  boot: string | undefined;
}

const EFFECTS = join(import.meta.dirname, '../support/crash/effects.fixture.ts');

/** @param flags of the plugin */
export function crashSwitch(flags: readonly string[] = []): CrashSwitch {
  let place = '';
  return {
    boot: undefined,
    start(directory) {
      place = join(directory, 'crash');
      shareState(directory);
      rmSync(place, { recursive: true, force: true });
      mkdirSync(place);
      for (const file of ['limit', 'count']) writeFileSync(join(place, file), '');
      return startPluginBelow([...namespace(place, this.boot), ...preload(place)], directory, flags);
    },
    arm(n) {
      writeFileSync(join(place, 'count'), '');
      writeFileSync(join(place, 'limit'), String(n));
    },
    disarm() {
      writeFileSync(join(place, 'limit'), '');
      const lines = readFileSync(join(place, 'count'), 'utf8').split('\n');
      return lines.map((line) => line.trimEnd()).filter((line) => line !== '');
    },
  };
}

/** As by default, so that what is mounted there (writable layers) is seen by the next plugin too. */
function shareState(directory: string): void {
  const state = join(directory, 'kubelet/plugins/idmap.csi.dev');
  mkdirSync(state, { recursive: true });
  if (!existsSync(join(directory, 'state'))) symlinkSync(state, join(directory, 'state'));
}

const UNSHARE = ['unshare', '--mount', '--propagation', 'unchanged'];

function namespace(place: string, boot: string | undefined): string[] {
  if (boot === undefined) return UNSHARE;
  const file = join(place, 'boot_id');
  writeFileSync(file, `${boot}\n`);
  // What is mounted on /proc is not for the host.
  const script = `mount --make-private /proc && mount --bind ${file} /proc/sys/kernel/random/boot_id && exec "$@"`;
  return [...UNSHARE, 'sh', '-c', script, 'sh'];
}

const preload = (place: string): string[] => [
  'env',
  `CRASH_DIRECTORY=${place}`,
  `NODE_OPTIONS=--import=${EFFECTS}`,
];
