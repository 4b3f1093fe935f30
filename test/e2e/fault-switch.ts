// Makes system calls of the plugin and of its engine fail, by support/faults/faults.fixture.ts.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Plugin } from '../sanity/plugin.ts';
import { type Errno, errnosOf } from '../support/faults/plausible.ts';
import { startPluginBelow } from './serve.ts';

/** A place in the sources where a call is made, with all that has led there. */
export interface Site {
  readonly id: string;
  readonly call: string;
  readonly by: 'driver' | 'engine';
  /** Innermost first. */
  readonly stack: string;
  /** How often it was passed. */
  readonly times: number;
  readonly errnos: readonly Errno[];
}

export interface Fault {
  readonly site: Site;
  /** Of the times that the site is passed. */
  readonly nth: number;
  readonly errno: Errno;
}

export interface FaultSwitch {
  /** For startNode(). */
  readonly start: (directory: string) => Promise<Plugin>;
  /** All sites that are passed while it is done, in their order. */
  record(work: () => Promise<unknown>): Promise<Site[]>;
  arm(fault: Fault): void;
  /** Whether it has happened. */
  disarm(): boolean;
}

const FIXTURE = join(import.meta.dirname, '../support/faults/faults.fixture.ts');

export function faultSwitch(flags: readonly string[] = []): FaultSwitch {
  let place = '';
  let orders = 0;
  const order = (text: string) => {
    writeFileSync(join(place, 'log'), '');
    writeFileSync(join(place, 'order'), text);
  };
  const said = () => readFileSync(join(place, 'log'), 'utf8').split('\n');
  return {
    start(directory) {
      place = join(directory, 'faults');
      rmSync(place, { recursive: true, force: true });
      mkdirSync(place);
      order('');
      const env = ['env', `FAULT_DIRECTORY=${place}`, `NODE_OPTIONS=--import=${FIXTURE}`];
      return startPluginBelow(env, directory, flags);
    },
    async record(work) {
      order(`record ${++orders}`);
      await work();
      const sites = new Map<string, Site>();
      for (const line of said().filter((one) => one !== '')) {
        const [by = '', call = '', id = '', stack = ''] = line.split(' ');
        const times = (sites.get(id)?.times ?? 0) + 1;
        sites.set(id, { ...{ id, call, stack, times }, by: by as Site['by'], errnos: errnosOf(call) });
      }
      order('');
      return [...sites.values()];
    },
    arm: ({ site, nth, errno }) => order(`fail ${++orders} ${site.id} ${nth} ${errno}`),
    disarm() {
      const happened = said().some((line) => line.startsWith('failed '));
      order('');
      return happened;
    },
  };
}
