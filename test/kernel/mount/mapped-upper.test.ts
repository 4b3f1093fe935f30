// idmapupper: a writable layer that is kept, and shown to whoever the mapping says: on disk no id of a pod stays behind.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { expect } from 'chai';
import type { Mount } from '../../../src/mount/mount.ts';
import { createUserNamespace } from '../../../src/userns/create.ts';
import {
  mountCommand,
  mountPlace,
  ownerOf,
  type TemporaryDirectory,
  temporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { makeImage } from '../../support/images.ts';
import { descendants } from '../../support/leaks.ts';
import { describeEngines, failureOf, isHostOnly, mountAt, SHIFT_UP } from './engines.ts';

/** Two layers, and a writable one that belongs to root. */
function writeLayers(place: TemporaryDirectory): void {
  writeFiles(place.path, {
    'a/of-root': 'a',
    'a/of-user': { content: 'a', uid: 1000, gid: 1001 },
    'a/directory/file': 'a',
    'b/gone': 'b',
    'data/upper/': '',
    'data/work/': '',
  });
}

function overlayOf(place: TemporaryDirectory, ...options: string[]): Mount {
  const layers = [
    `lowerdir=${place.at('a')}:${place.at('b')}`,
    `upperdir=${place.at('data/upper')}`,
    `workdir=${place.at('data/work')}`,
  ];
  return { type: 'overlay', source: 'overlay', options: [...layers, ...options] };
}

const POD = [{ container: 0, host: 100_000, size: 65_536 }];
const UPPER = [...SHIFT_UP, 'idmapupper'] as const;

/** Runs a shell command as this user and group. */
function shellAs(id: number, command: string, cwd: string): void {
  execFileSync('sh', ['-ec', command], { uid: id, gid: id, cwd, stdio: ['ignore', 'ignore', 'inherit'] });
}

/** The users whose rights the threads of the run have on files. */
function filesystemUsers(): string[] {
  const pids = [process.pid, ...descendants(process.pid).map(({ pid }) => pid)];
  // Threads and processes may end meanwhile.
  const threads = pids.flatMap((pid) =>
    orNone(() => readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}`)),
  );
  const users = threads.flatMap((thread) => {
    const [status] = orNone(() => [readFileSync(`${thread}/status`, 'utf8')]);
    if (status === undefined) return [];
    const idsOf = (key: string) => new RegExp(`^${key}:.*\\t(\\d+)$`, 'm').exec(status)?.[1];
    return `${idsOf('Uid')}:${idsOf('Gid')} ${/^CapEff:\t(\w+)$/m.exec(status)?.[1]}`;
  });
  return [...new Set(users)];
}

function orNone<T>(read: () => T[]): T[] {
  try {
    return read();
  } catch {
    return [];
  }
}

describeEngines('a mapped upper layer', (bench) => {
  /** Where it cannot be had, that is what the test is about. */
  async function mountUpper(place: TemporaryDirectory, ...options: string[]): Promise<boolean> {
    const mounted = bench.mount(overlayOf(place, ...options), place.at('target'));
    if (!isHostOnly(bench)) return mounted.then(() => true);
    const error = await failureOf(mounted, { reason: 'kernel-unsupported', rolledBack: true });
    expect(error.message).to.match(/private mount namespace/);
    return false;
  }

  it('keeps what the mapped root writes as written by root', async () => {
    using place = mountPlace();
    writeLayers(place);
    const before = filesystemUsers();
    if (!(await mountUpper(place, ...UPPER))) return;
    expect(filesystemUsers()).to.deep.equal(before);
    shellAs(
      100_000,
      'echo new >new; echo more >>of-root; mkdir made; ln -s new link; rm gone',
      place.at('target'),
    );
    expect(readFileSync(place.at('target/of-root'), 'utf8')).to.equal('amore\n');
    expect(existsSync(place.at('target/gone'))).to.equal(false);
    for (const name of ['', 'new', 'of-root', 'made', 'link']) {
      expect([ownerOf(place.at('target', name)), ownerOf(place.at('data/upper', name))]).to.deep.equal([
        '100000:100000',
        '0:0',
      ]);
    }
    // A whiteout, for the file that was removed.
    expect(statSync(place.at('data/upper/gone')).isCharacterDevice()).to.equal(true);
    expect(ownerOf(place.at('data/work/work'))).to.equal('0:0');
    await bench.unmount(place.at('target'));
  });

  it('is written by root of a user namespace, who may do there what root may', async () => {
    using place = mountPlace();
    writeLayers(place);
    if (!(await mountUpper(place, ...UPPER))) return;
    using userns = createUserNamespace({ uid: POD, gid: POD });
    const command = 'echo new >new; chown 33:44 new of-root; chmod 4755 of-root; stat -c %u:%g .';
    const shown = execFileSync('nsenter', ['--user=/proc/self/fd/3', '-S0', '-G0', 'sh', '-ec', command], {
      cwd: place.at('target'),
      stdio: ['ignore', 'pipe', 'inherit', userns.number],
      encoding: 'utf8',
    });
    expect(shown).to.equal('0:0\n');
    const owners = ['', 'new', 'of-root'].map((name) => ownerOf(place.at('data/upper', name)));
    expect(owners).to.deep.equal(['0:0', '33:44', '33:44']);
    expect(statSync(place.at('data/upper/of-root')).mode & 0o7777).to.equal(0o4755);
    await bench.unmount(place.at('target'));
  });

  it('maps everybody, and copies files up with their owners', async () => {
    using place = mountPlace();
    writeLayers(place);
    chmodSync(place.at('data/upper'), 0o777);
    if (!(await mountUpper(place, ...UPPER))) return;
    shellAs(101_000, 'echo >new; chmod 600 of-user', place.at('target'));
    const owners = ['target/new', 'data/upper/new', 'target/of-user', 'data/upper/of-user'].map((name) =>
      ownerOf(place.at(name)),
    );
    expect(owners).to.deep.equal(['101000:101000', '1000:1000', '101000:101001', '1000:1001']);
    await bench.unmount(place.at('target'));
  });

  it('is there for the next, whose ids are others', async () => {
    using place = mountPlace();
    writeLayers(place);
    if (!(await mountUpper(place, ...UPPER))) return;
    shellAs(100_000, 'echo first >new; echo first >>directory/file', place.at('target'));
    await bench.unmount(place.at('target'));
    await mountUpper(place, 'uidmap=0:300000:65536', 'gidmap=0:300000:65536', 'idmapupper');
    expect(ownerOf(place.at('target/new'))).to.equal('300000:300000');
    shellAs(300_000, 'echo second >>new; rm -r directory', place.at('target'));
    expect(readFileSync(place.at('data/upper/new'), 'utf8')).to.equal('first\nsecond\n');
    await bench.unmount(place.at('target'));
  });

  it('may lie on a disk of its own, with names of any length', async function () {
    using place = mountPlace();
    using disk = temporaryDirectory();
    writeFiles(disk.path, { 'content/': '' });
    const image = makeImage(this, 'ext4', disk.at('image'), disk.at('content'));
    writeFiles(place.path, { 'a/x': '', 'b/': '', 'data/': '' });
    mountCommand('-o', 'loop', image, place.at('data'));
    try {
      const deep = 'long'.repeat(50);
      writeFiles(place.at('data'), { [`${deep}/${deep}/upper/`]: '', [`${deep}/work/`]: '' });
      const upperdir = `upperdir=${place.at('data', deep, deep, 'upper')}`;
      const mounted = mountUpper(place, upperdir, `workdir=${place.at('data', deep, 'work')}`, ...UPPER);
      if (!(await mounted)) return;
      shellAs(100_000, 'echo >new', place.at('target'));
      expect(ownerOf(place.at('data', deep, deep, 'upper/new'))).to.equal('0:0');
      await bench.unmount(place.at('target'));
    } finally {
      unmountCommand(place.at('data'));
    }
  });

  it('is found below the roots that sources must lie in', async () => {
    using place = mountPlace();
    writeLayers(place);
    if (isHostOnly(bench)) return;
    const mounts = [overlayOf(place, ...UPPER, 'rootuid=100000')];
    const target = { path: place.at('target') };
    await bench.engine.mountAll({ mounts, target, create: 'directory', sourceRoots: [{ path: place.path }] });
    shellAs(100_000, 'echo >new', place.at('target'));
    expect(ownerOf(place.at('data/upper/new'))).to.equal('0:0');
    await bench.unmount(place.at('target'));
    const sourceRoots = [{ path: place.at('a') }, { path: place.at('b') }];
    await failureOf(bench.engine.mountAll({ mounts, target, sourceRoots }), {
      reason: 'source-outside-roots',
      rolledBack: true,
    });
  });

  it('has its root swapped like the lower layers', async () => {
    using place = mountPlace();
    writeLayers(place);
    if (!(await mountUpper(place, 'rootuid=1000', 'rootgid=1001', 'idmapupper'))) return;
    execFileSync('touch', [place.at('target/new')], { uid: 1000, gid: 1001 });
    const owners = ['target', 'target/new', 'data/upper/new', 'target/of-user'].map((name) =>
      ownerOf(place.at(name)),
    );
    expect(owners).to.deep.equal(['1000:1001', '1000:1001', '0:0', '0:0']);
    await bench.unmount(place.at('target'));
  });

  it('is not mapped where there is nothing to swap', async () => {
    using place = mountPlace();
    writeLayers(place);
    if (!(await mountUpper(place, 'rootuid=0', 'idmapupper'))) return;
    writeFiles(place.at('target'), { new: '' });
    expect(ownerOf(place.at('data/upper/new'))).to.equal('0:0');
    await bench.unmount(place.at('target'));
  });

  it('belongs to one overlay, mapped or not', async () => {
    using place = mountPlace();
    writeLayers(place);
    if (!(await mountUpper(place, ...UPPER))) return;
    for (const options of [UPPER, SHIFT_UP, []]) {
      await failureOf(bench.mount(overlayOf(place, ...options), place.at('other')), {
        reason: 'upperdir-in-use',
        rolledBack: true,
      });
    }
    await bench.unmount(place.at('target'));
    // And the other way round.
    await bench.mount(overlayOf(place), place.at('target'));
    await failureOf(bench.mount(overlayOf(place, ...UPPER), place.at('other')), {
      reason: 'upperdir-in-use',
    });
    await bench.unmount(place.at('target'));
  });

  it('takes flags, and read-only, as any overlay', async () => {
    using place = mountPlace();
    writeLayers(place);
    if (!(await mountUpper(place, ...UPPER, 'ro', 'nosuid'))) return;
    expect(mountAt(place.at('target')).options).to.include.members(['ro', 'nosuid']);
    expect(ownerOf(place.at('target/of-root'))).to.equal('100000:100000');
    await bench.unmount(place.at('target'));
  });

  it('that the mapped root cannot write to is refused', async () => {
    using place = mountPlace();
    writeLayers(place);
    chownSync(place.at('data/upper'), 70_000, 70_000);
    if (isHostOnly(bench)) return;
    const error = await failureOf(bench.mount(overlayOf(place, ...UPPER), place.at('target')), {
      reason: 'not-writable',
      rolledBack: true,
    });
    expect(error.message).to.match(/upperdir must belong to an id that the mapping has/);
    expect(existsSync(place.at('target'))).to.equal(false);
  });

  it('on a filesystem that cannot be mapped is refused', async () => {
    using place = mountPlace();
    writeLayers(place);
    if (isHostOnly(bench)) return;
    // An overlay over an overlay.
    renameSync(place.at('data'), place.at('inner'));
    writeFiles(place.path, { 'empty/': '', 'data/': '', 'u/': '', 'w/': '' });
    const options = `lowerdir=${place.at('inner')}:${place.at('empty')},upperdir=${place.at('u')},workdir=${place.at('w')}`;
    mountCommand('-t', 'overlay', '-o', options, 'o', place.at('data'));
    try {
      const error = await failureOf(bench.mount(overlayOf(place, ...UPPER), place.at('target')), {
        reason: 'idmap-unsupported',
        rolledBack: true,
      });
      expect(error.message).to.match(/the filesystem of upperdir cannot be ID-mapped/);
    } finally {
      unmountCommand(place.at('data'));
    }
  });

  it('without an upperdir is refused', async () => {
    using place = mountPlace();
    writeLayers(place);
    const mount: Mount = { type: 'overlay', source: 'o', options: [`lowerdir=${place.at('a')}`, ...UPPER] };
    await failureOf(bench.mount(mount, place.at('target')), { reason: 'invalid-mount', rolledBack: true });
    rmSync(place.at('data'), { recursive: true });
  });
});
