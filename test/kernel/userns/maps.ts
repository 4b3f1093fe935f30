// The maps of user namespaces as processes in them read them: what tests compare with.
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

export interface Maps {
  readonly uid: string;
  readonly gid: string;
}

export async function mapsIn(namespace: number): Promise<Maps> {
  const [maps] = await mapsInAll([namespace]);
  if (maps === undefined) throw new Error('nsenter printed no maps');
  return maps;
}

const FIRST = 3;
const SCRIPT = `
for fd in "$@"; do
  echo gids |
    nsenter --preserve-credentials --user=/proc/self/fd/$fd cat /proc/self/uid_map - /proc/self/gid_map
  echo end
done`;

/** Spaces made single. By one shell, which starts a process sooner than a large one does. */
export async function mapsInAll(namespaces: readonly number[]): Promise<Maps[]> {
  const numbers = namespaces.map((_, i) => String(FIRST + i));
  const child = spawn('sh', ['-ec', SCRIPT, 'sh', ...numbers], {
    stdio: ['ignore', 'pipe', 'inherit', ...namespaces],
  });
  const output = await text(child.stdout as NodeJS.ReadableStream);
  return output
    .split('end\n')
    .slice(0, -1)
    .map((one) => {
      const [uid = '', gid = ''] = one.split('gids\n');
      return { uid: single(uid), gid: single(gid) };
    });
}

const single = (map: string): string =>
  map
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `${line.trim().split(/\s+/).join(' ')}\n`)
    .join('');
