// What a run can leave behind, to be compared before and after.
import { readdirSync, readFileSync } from 'node:fs';
import { readMountinfo } from '../../mount/mountinfo.ts';

export type Inventory = ReadonlyMap<string, readonly string[]>;

/** Mounts, loop devices in use, child processes of this one, and entries of a directory. */
export function takeInventory(directory: string): Inventory {
  return new Map([
    ['mounts', readMountinfo().map(({ target }) => target)],
    ['loop devices', loopDevices()],
    ['processes', childProcesses()],
    ['directories', readdirSync(directory)],
  ]);
}

/** What `after` has more than `before`, by kind. */
export function leftOver(before: Inventory, after: Inventory): Map<string, string[]> {
  return new Map(
    [...after].map(([kind, now]) => {
      const known = [...(before.get(kind) ?? [])];
      const more = now.filter((item) => {
        const at = known.indexOf(item);
        if (at !== -1) known.splice(at, 1);
        return at === -1;
      });
      return [kind, more];
    }),
  );
}

function loopDevices(): string[] {
  return readdirSync('/sys/block').filter(
    (name) => name.startsWith('loop') && readdirSync(`/sys/block/${name}`).includes('loop'),
  );
}

function childProcesses(): string[] {
  const { pid } = process;
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter((child) => child.trim() !== '');
}
