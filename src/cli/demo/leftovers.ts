// What a run below one directory can leave behind. Others may mount and unmount at the same time: what is not below
// the directory, and no child of this process, is theirs.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readMountinfo } from '../../mount/mountinfo.ts';

/** By kind: mounts, loop devices, child processes, and the directory itself. */
export function leftOver(root: string): Map<string, string[]> {
  return new Map([
    ['mounts', readMountinfo().flatMap(({ target }) => (isBelow(target, root) ? [target] : []))],
    ['loop devices', loopDevices(root)],
    ['processes', childProcesses()],
    ['directories', existsSync(root) ? [root] : []],
  ]);
}

const isBelow = (path: string, root: string): boolean => path === root || path.startsWith(`${root}/`);

function loopDevices(root: string): string[] {
  return readdirSync('/sys/block').filter((name) => {
    const file = `/sys/block/${name}/loop/backing_file`;
    return existsSync(file) && isBelow(readFileSync(file, 'utf8').trim(), root);
  });
}

function childProcesses(): string[] {
  const { pid } = process;
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .split(' ')
    .filter((child) => child.trim() !== '');
}
