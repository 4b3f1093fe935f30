// What pods get to see and to write, in real containers: every kind of volume, with and without a user namespace, with
// and without fsGroup. The one table in which the driver, kubelet's part and the runtime's meet.
//
// With runc, and for the pods with a user namespace by the runtime's calls alone too, which need no runtime.
import { chmodSync, existsSync, mkdirSync, mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { bareRuntime } from '../support/bare-runtime.ts';
import type { Runtime } from '../support/container.ts';
import { type FileSpec, ownerOf, writeFiles } from '../support/fixtures.ts';
import { makeImage } from '../support/images.ts';
import { needMappedSquashfs, needMappedTmpfs, needRoot, needTool } from '../support/need.ts';
import { runc } from '../support/runc.ts';
import { type Pod, type PodNode, startPodNode, type VolumeOfPod } from './containers.ts';

/** A path below the data of a volume. */
type At = (...names: string[]) => string;

interface Kind {
  readonly title: string;
  readonly volume: (at: At, context: Mocha.Context) => VolumeOfPod;
  /** Below the mountPath. */
  readonly directory?: string;
  /** The directory on disk that receives what is written. */
  readonly disk?: string;
  /** What of a mount is ID-mapped in some cells, and in which. */
  readonly mapped?: Mapped;
  /** hostUsers: true; with fsGroup; hostUsers: false; with fsGroup. */
  readonly cells: readonly [Cell, Cell, Cell, Cell];
}

interface Mapped {
  readonly need: (context: Mocha.Context) => void;
  readonly fromCell: number;
}

/** What the containers of a pod find. */
type Cell =
  | {
      readonly seen: keyof typeof SEEN;
      /** Whose the file is that the pod's root makes, in the container and on disk; or why there is none. */
      readonly root: string;
      /** The same of uid 1000, which is a member of fsGroup. */
      readonly user?: string;
    }
  /** The container does not start, for this reason of the runtime. */
  | { readonly refused: RegExp };

const GROUP = 3000;
/** The group may write at the root. */
const DATA: Readonly<Record<string, FileSpec>> = {
  'data/': { mode: 0o775 },
  'data/of-root': 'root',
  'data/of-user': { content: 'user', uid: 1000, gid: 1001 },
  'upper/': { mode: 0o775 },
  'work/': {},
};
const SEEN = {
  'as on disk': ['. 0:0', 'of-root 0:0', 'of-user 1000:1001'],
  'with the group': ['. 0:3000', 'of-root 0:3000', 'of-user 1000:1001'],
  'a root of the group': ['. 0:3000', 'of-root 0:0', 'of-user 1000:1001'],
  new: ['. 0:0'],
  'new, of the group': ['. 0:3000'],
} as const;
const UNMAPPABLE = /MOUNT_ATTR_IDMAP.*(invalid argument|EINVAL)/;

const EROFS = { root: 'EROFS' };
const EROFS_BOTH = { root: 'EROFS', user: 'EROFS' };
const overlayed = (at: At) => ({ type: 'overlay', lowerdir: at('data') });
const pod = { idmap: 'pod' };
/** Of a nested volume, it is the tmpfs round it. */
const TMPFS: Mapped = { need: needMappedTmpfs, fromCell: 2 };
const SQUASHFS: Mapped = { need: needMappedSquashfs, fromCell: 1 };

const KINDS: readonly Kind[] = [
  {
    title: 'bind',
    volume: (at) => ({ context: { source: at('data') } }),
    disk: 'data',
    cells: [
      { seen: 'as on disk', root: '0:0, on disk 0:0' },
      { seen: 'with the group', root: '0:0, on disk 0:3000', user: '1000:1000, on disk 1000:1000' },
      { seen: 'as on disk', root: '0:0, on disk 0:0' },
      { seen: 'as on disk', root: '0:0, on disk 0:0', user: 'EACCES' },
    ],
  },
  {
    title: 'tmpfs',
    volume: () => ({ context: { type: 'tmpfs', sizeLimit: '1Mi' }, inline: true }),
    mapped: TMPFS,
    cells: [
      { seen: 'new', root: '0:0' },
      { seen: 'new, of the group', root: '0:3000', user: '1000:3000' },
      { seen: 'new', root: '0:0' },
      { seen: 'new, of the group', root: '0:3000', user: '1000:3000' },
    ],
  },
  {
    title: 'image, made by the driver',
    volume: (at, context) => {
      needTool(context, 'mkfs.ext4', 'the driver makes the image with it');
      return { context: { type: 'image', source: at('image'), mkfs: 'true', fsType: 'ext4', size: '16Mi' } };
    },
    cells: [
      { seen: 'new', root: '0:0' },
      { seen: 'new, of the group', root: '0:3000', user: '1000:3000' },
      { seen: 'new', root: '0:0' },
      { seen: 'new, of the group', root: '0:3000', user: '1000:3000' },
    ],
  },
  {
    title: 'image that is read-only by its filesystem',
    volume: (at, context) => ({
      context: { type: 'image', source: makeImage(context, 'squashfs', at('image'), at('data')) },
    }),
    mapped: SQUASHFS,
    cells: [
      { seen: 'as on disk', ...EROFS },
      { seen: 'with the group', ...EROFS_BOTH },
      { seen: 'as on disk', ...EROFS },
      { seen: 'as on disk', ...EROFS_BOTH },
    ],
  },
  {
    title: 'overlay, read-only',
    volume: (at) => ({ context: overlayed(at) }),
    cells: [
      { seen: 'as on disk', ...EROFS },
      { seen: 'with the group', ...EROFS_BOTH },
      { refused: UNMAPPABLE },
      { refused: UNMAPPABLE },
    ],
  },
  {
    title: 'overlay, read-only, idmap: pod',
    volume: (at) => ({ context: { ...overlayed(at), ...pod } }),
    directory: 'data',
    mapped: TMPFS,
    cells: [
      { seen: 'as on disk', ...EROFS },
      { seen: 'with the group', ...EROFS_BOTH },
      { seen: 'as on disk', ...EROFS },
      { seen: 'with the group', ...EROFS_BOTH },
    ],
  },
  {
    title: 'overlay, ephemeral, idmap: pod',
    volume: (at) => ({ context: { ...overlayed(at), ...pod, writable: 'ephemeral' } }),
    directory: 'data',
    mapped: TMPFS,
    cells: [
      { seen: 'as on disk', root: '0:0' },
      { seen: 'a root of the group', root: '0:3000', user: '1000:3000' },
      { seen: 'as on disk', root: '0:0' },
      { seen: 'a root of the group', root: '0:3000', user: '1000:3000' },
    ],
  },
  {
    title: 'overlay, persistent, idmap: pod',
    volume: (at) => ({
      context: { ...overlayed(at), ...pod, upperdir: at('upper'), workdir: at('work') },
    }),
    directory: 'data',
    mapped: TMPFS,
    disk: 'upper',
    cells: [
      { seen: 'as on disk', root: '0:0, on disk 0:0' },
      { seen: 'a root of the group', root: '0:3000, on disk 0:3000', user: '1000:3000, on disk 1000:3000' },
      { seen: 'as on disk', root: '0:0, on disk 0:0' },
      { seen: 'a root of the group', root: '0:3000, on disk 0:3000', user: '1000:3000, on disk 1000:3000' },
    ],
  },
  {
    title: 'FUSE',
    volume: (at, context) => {
      needTool(context, 'bindfs', 'a FUSE filesystem');
      return { context: { type: 'fuse.bindfs', source: at('data') } };
    },
    disk: 'data',
    cells: [
      { seen: 'as on disk', root: '0:0, on disk 0:0' },
      { seen: 'as on disk', root: '0:0, on disk 0:0', user: 'EACCES' },
      { refused: UNMAPPABLE },
      { refused: UNMAPPABLE },
    ],
  },
  {
    title: 'FUSE, idmap: pod',
    volume: (at, context) => {
      needTool(context, 'bindfs', 'a FUSE filesystem');
      return { context: { type: 'fuse.bindfs', source: at('data'), ...pod } };
    },
    directory: 'data',
    mapped: TMPFS,
    disk: 'data',
    cells: [
      { seen: 'as on disk', root: '0:0, on disk 0:0' },
      { seen: 'as on disk', root: '0:0, on disk 0:0', user: 'EACCES' },
      { seen: 'as on disk', root: '0:0, on disk 0:0' },
      { seen: 'as on disk', root: '0:0, on disk 0:0', user: 'EACCES' },
    ],
  },
];

const PODS = [
  { hostUsers: true },
  { hostUsers: true, fsGroup: GROUP },
  { hostUsers: false },
  { hostUsers: false, fsGroup: GROUP },
] as const;

const RUNTIMES = [
  { name: 'runc', start: runc, ofHost: true },
  { name: 'the calls of a runtime', start: bareRuntime, ofHost: false },
] as const;

describe('containers of pods', () => {
  let node: PodNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startPodNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  function dataSet(): At {
    mkdirSync(node.node.at('data'), { recursive: true });
    const directory = mkdtempSync(node.node.at('data', 'volume-'));
    chmodSync(directory, 0o755);
    writeFiles(directory, DATA);
    return (...names) => join(directory, ...names);
  }

  for (const { name, start, ofHost } of RUNTIMES) {
    describe(`by ${name}`, () => {
      let runtime: Runtime;
      before(async function () {
        this.timeout('10m'); // The first run of a checkout builds the runtime.
        runtime = await start(this);
      });
      after(() => runtime?.[Symbol.dispose]());

      for (const kind of KINDS) {
        for (const [index, spec] of PODS.entries()) {
          if (spec.hostUsers && !ofHost) continue;
          const group = 'fsGroup' in spec ? ', fsGroup' : '';
          it(`${kind.title}; hostUsers: ${spec.hostUsers}${group}`, async function () {
            if (index >= (kind.mapped?.fromCell ?? PODS.length)) kind.mapped?.need(this);
            const at = dataSet();
            await using pod = await node.pod(runtime, spec, kind.volume(at, this));
            expect(await found(pod, kind, at, 'fsGroup' in spec)).to.deep.equal(kind.cells[index]);
          });
        }
      }
    });
  }
});

/** What there is, as a cell of the table. */
async function found(pod: Pod, kind: Kind, at: At, asUser: boolean): Promise<unknown> {
  const directory = join('/v', kind.directory ?? '');
  const write = (file: string) => `(echo new >${file}) 2>&1 && stat -c %u:%g ${file}`;
  const look = `cd ${directory}; stat -c '%n %u:%g' . of-* 2>/dev/null; echo; ${write('by-root')}`;
  const root = await pod.run({ script: look });
  if (!root.started) {
    const expected = kind.cells.find((cell) => 'refused' in cell && cell.refused.test(root.problem));
    return expected ?? { refused: root.problem };
  }
  const [seen = '', written = ''] = root.stdout.split('\n\n');
  const shown = Object.entries(SEEN).find(([, lines]) => lines.join('\n') === seen);
  const disk = (file: string) => {
    const path = kind.disk === undefined ? '' : at(kind.disk, file);
    return existsSync(path) ? `, on disk ${ownerOf(path)}` : '';
  };
  const user = asUser
    ? await pod.run({ uid: 1000, script: `cd ${directory}; ${write('by-user')}` })
    : undefined;
  return {
    seen: shown?.[0] ?? seen,
    root: outcomeOf(written) + disk('by-root'),
    ...(user && { user: (user.started ? outcomeOf(user.stdout) : user.problem) + disk('by-user') }),
  };
}

function outcomeOf(said: string): string {
  if (/Read-only file system/.test(said)) return 'EROFS';
  if (/Permission denied/.test(said)) return 'EACCES';
  return said.trim();
}
