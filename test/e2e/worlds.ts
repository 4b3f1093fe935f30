// What may happen to a node while its plugin is dead.
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unmountCommand } from '../support/fixtures.ts';
import type { CrashSwitch } from './crash-switch.ts';
import type { TestNode } from './node.ts';
import { devicesOf } from './specimens.ts';

export type World = (node: TestNode, crash: CrashSwitch) => void;

let boots = 0;

/** Nothing is mounted any more, no device attached, and the boot has another id. */
export const rebooted: World = (node, crash) => {
  for (const { target } of node.mounts().toReversed()) unmountCommand('--lazy', target);
  for (const device of devicesOf(node)) detach(device);
  crash.boot = `boot-${++boots}`;
};

export const withoutRecords: World = ({ stateDir }) => rmSync(join(stateDir, 'records'), { recursive: true });

/** With states and fields that nobody knows yet. */
export const withLaterRecords: World = (node) =>
  changeRecords(node, (record) => ({
    ...record,
    ...{ schema: 99, state: 'dreaming', news: { of: 'tomorrow' }, fingerprint: 'of more than now' },
  }));

/** Of a later version that says in other words what a volume is. */
export const withForeignVolumes: World = (node) =>
  changeRecords(node, (record) => ({ ...record, schema: 99, volume: { in: 'other words' } }));

export const withEarlierRecords: World = (node) =>
  changeRecords(node, (record) => {
    // It had no volumes that wait for their pod.
    if (record.state === 'waiting') return record;
    const known = Object.entries(record).filter(([name]) => FIRST_SCHEMA.includes(name));
    return { schema: 1, ...Object.fromEntries(known), fingerprint: 'of less than now' };
  });

const FIRST_SCHEMA = ['kind', 'volumeId', 'path', 'state', 'fingerprint', 'accessMode', 'mount', 'bootId'];

function changeRecords(node: TestNode, change: (record: Record<string, unknown>) => object): void {
  for (const { file, text } of node.records()) {
    // Whoever made it was killed before it wrote: there is nothing that another version could have written.
    if (text !== '') writeFileSync(file, JSON.stringify(change(JSON.parse(text))));
  }
}

/** One whose mount has gone may let itself go first. */
function detach(device: string): void {
  try {
    execFileSync('losetup', ['--detach', device], { stdio: 'ignore' });
  } catch {}
}
