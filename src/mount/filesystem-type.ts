// Which filesystem an image holds, for type `auto`: as libblkid sees it, which knows hundreds and is hardened
// against what images may hold. It runs as blkid(8): its own process, so that a defect in it or a hung disk is not
// ours. The image is given to it open, so it cannot be another one meanwhile, nor a name that looks like a flag.
import { spawnSync } from 'node:child_process';
import { hasErrno } from '../sys/errors.ts';
import type { Fd } from '../sys/fd.ts';
import { MountError, type MountReason } from './errors.ts';
import type { ImageRange } from './loop/image.ts';

const DEADLINE_MS = 10_000;
/** Where it lies on all distributions, whatever PATH the caller has. */
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';
/** Where the image is in the child: the first descriptor after the standard ones. */
const IMAGE_IN_CHILD = '/proc/self/fd/3';

/** blkid(8), EXIT STATUS. */
const NOTHING_FOUND = 2;
const AMBIVALENT = 8;

/** @throws MountError (bad-image, program-missing, timeout) */
export function findFilesystemType(image: Fd, path: string, range: ImageRange): string {
  const fail = (reason: MountReason, why: string, cause?: unknown) =>
    new MountError({ reason, message: `${path}: ${why}`, rolledBack: true }, { cause });
  const { offset, sizeLimit } = range;
  const size = sizeLimit === 0 ? [] : ['--size', String(sizeLimit)];
  const child = spawnSync(
    'blkid',
    ['--probe', '--output', 'export', '--offset', String(offset), ...size, IMAGE_IN_CHILD],
    {
      stdio: ['ignore', 'pipe', 'pipe', image.number],
      env: { PATH, LC_ALL: 'C', LIBBLKID_CONF: '/dev/null' },
      cwd: '/',
      timeout: DEADLINE_MS,
      killSignal: 'SIGKILL',
      encoding: 'utf8',
    },
  );
  if (hasErrno(child.error, 'ENOENT')) {
    throw fail('program-missing', 'type auto needs blkid(8) of util-linux; install it, or name the type');
  }
  if (hasErrno(child.error, 'ETIMEDOUT')) {
    throw fail('timeout', `blkid did not find out the type within ${DEADLINE_MS / 1000} s`, child.error);
  }
  if (child.error) throw child.error;
  if (child.status === NOTHING_FOUND) throw fail('bad-image', `blkid finds no filesystem${at(range)}`);
  if (child.status === AMBIVALENT) {
    throw fail(
      'bad-image',
      'blkid finds more than one filesystem; wipe the old one (wipefs), or name the type',
    );
  }
  if (child.status !== 0) {
    throw fail(
      'bad-image',
      `blkid ended with ${child.signal ?? `status ${child.status}`}: ${child.stderr.trim()}`,
    );
  }
  return typeIn(parseExport(child.stdout), fail);
}

type Fail = (reason: MountReason, why: string) => MountError;

function typeIn(found: ReadonlyMap<string, string>, fail: Fail): string {
  const type = found.get('TYPE');
  if (type !== undefined && found.get('USAGE') === 'filesystem') return type;
  if (type !== undefined) throw fail('bad-image', `holds ${type} (${found.get('USAGE')}), not a filesystem`);
  const table = found.get('PTTYPE');
  if (table === undefined) throw fail('bad-image', 'blkid finds no filesystem');
  throw fail('bad-image', `holds a partition table (${table}); give the partition's offset= with loop`);
}

const at = ({ offset }: ImageRange): string => (offset === 0 ? '' : ` at offset ${offset}`);

/** `KEY=value` lines, values with a backslash before what a shell would read. */
export function parseExport(text: string): Map<string, string> {
  return new Map(
    text.split('\n').flatMap((line): [string, string][] => {
      const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
      return key === undefined || value === undefined ? [] : [[key, value.replace(/\\(.)/g, '$1')]];
    }),
  );
}
