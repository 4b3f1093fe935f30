// What the kernel says is mounted, read by a parser of the tests' own: nothing here is under test.
import { readFileSync } from 'node:fs';

export interface ShownMount {
  readonly id: string;
  /** `major:minor` of the filesystem. */
  readonly device: string;
  readonly target: string;
  /** Of this mount: `ro`, `nosuid`, `idmapped`, ... */
  readonly options: readonly string[];
  /** `shared:N` and the like; none for a private mount. */
  readonly propagation: readonly string[];
  readonly type: string;
  /** Of the filesystem: `ro`, `size=1024k`, ... */
  readonly superblock: readonly string[];
}

/** The mounts at exactly this path, the one on top last. */
export function mountsAt(path: string): ShownMount[] {
  return allMounts().filter(({ target }) => target === path);
}

/** The mounts below a directory, but not at it. */
export function mountsBelow(directory: string): ShownMount[] {
  return allMounts().filter(({ target }) => target.startsWith(`${directory}/`));
}

/** The only mount at this path. */
export function theMountAt(path: string): ShownMount {
  const [mount, ...more] = mountsAt(path);
  if (mount === undefined) throw new Error(`nothing is mounted at ${path}`);
  if (more.length > 0) throw new Error(`${more.length + 1} mounts are stacked at ${path}`);
  return mount;
}

/** The mounts that share with the one at this path what is mounted below either: its peers, without itself. */
export function peersOf(path: string): ShownMount[] {
  const { id, propagation } = theMountAt(path);
  const group = propagation.filter((field) => field.startsWith('shared:'));
  return allMounts().filter(
    (other) => other.id !== id && other.propagation.some((one) => group.includes(one)),
  );
}

function allMounts(): ShownMount[] {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ');
      const [id = '', , device = '', , target = '', options = '', ...propagation] = before.split(' ');
      const [type = '', , superblock = ''] = after.split(' ');
      return {
        id,
        device,
        target,
        options: options.split(','),
        propagation,
        type,
        superblock: superblock.split(','),
      };
    });
}
