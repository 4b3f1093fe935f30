// The user namespace of a sandbox: taken from a process or a path, never from another process than was meant.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fstatSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { Fd } from '../../../src/sys/fd.ts';
import { formatIdMapping, formatKernelMap, parseIdMapping } from '../../../src/userns/mapping.ts';
import {
  expectMapping,
  namespaceAtPath,
  namespaceOfProcess,
  SandboxError,
  type SandboxReason,
} from '../../../src/userns/sandbox.ts';
import {
  eventually,
  mountCommand,
  mountPlace,
  temporaryDirectory,
  unmountCommand,
} from '../../support/fixtures.ts';
import { needRoot, needTool } from '../../support/need.ts';
import { mapsIn } from './maps.ts';

const uid = parseIdMapping('0:100000:65536', 'uid');
const gid = parseIdMapping('0:200000:10,10:300000:5', 'gid');

interface Sandbox extends AsyncDisposable {
  readonly pid: number;
  /** `user:[4026531837]`. */
  readonly name: string;
  readonly end: () => Promise<void>;
}

/** A process that sleeps in a user namespace of its own, as the container of a sandbox does. */
async function sandbox({ mapped = true } = {}): Promise<Sandbox> {
  const child: ChildProcess = spawn('unshare', ['--user', 'sleep', '60'], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  const pid = child.pid ?? 0;
  const nameIn = (of: number | string) => readlinkSync(`/proc/${of}/ns/user`);
  await eventually('it has a namespace', () => nameIn(pid) !== nameIn('self'));
  if (mapped) {
    writeFileSync(`/proc/${pid}/uid_map`, formatKernelMap(uid));
    writeFileSync(`/proc/${pid}/gid_map`, formatKernelMap(gid));
  }
  const end = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  return { pid, name: nameIn(pid), end, [Symbol.asyncDispose]: end };
}

const nameOf = ({ number }: Fd): string => `user:[${fstatSync(number).ino}]`;

function reasonOf(call: () => void): SandboxReason {
  try {
    call();
  } catch (error) {
    if (error instanceof SandboxError) return error.reason;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('the namespace of a sandbox', () => {
  before(function () {
    needRoot(this, 'mapping the ids of others takes CAP_SETUID');
    needTool(this, 'unshare', 'a process in a user namespace');
  });

  const ways: readonly [by: string, find: (pid: number) => ReturnType<typeof namespaceAtPath>][] = [
    ['a process', namespaceOfProcess],
    ['the path of a process', (pid) => namespaceAtPath(`/proc/${pid}/ns/user`)],
  ];
  for (const [by, find] of ways) {
    it(`comes with its mapping by ${by}`, async function () {
      needTool(this, 'nsenter', 'the maps are read inside');
      await using running = await sandbox();
      using found = find(running.pid);
      expect(nameOf(found.fd)).to.equal(running.name);
      expect(found.mapping).to.deep.equal({ uid, gid });
      expect(await mapsIn(found.fd.number)).to.deep.equal({
        uid: formatKernelMap(uid),
        gid: formatKernelMap(gid),
      });
    });

    it(`is not there by ${by} that has ended`, async () => {
      await using running = await sandbox();
      await running.end();
      expect(reasonOf(() => find(running.pid))).to.equal('process-gone');
    });

    it(`is refused by ${by} before it is mapped`, async () => {
      await using running = await sandbox({ mapped: false });
      expect(reasonOf(() => find(running.pid))).to.equal('not-mapped');
    });

    it(`is refused by ${by} that shares the driver's`, () => {
      expect(reasonOf(() => find(process.pid))).to.equal('own-namespace');
    });
  }

  it('is found at a path where it is mounted, without its mapping', async () => {
    using place = mountPlace();
    await using running = await sandbox();
    writeFileSync(place.at('pinned'), '');
    mountCommand('--bind', `/proc/${running.pid}/ns/user`, place.at('pinned'));
    await running.end();
    {
      using found = namespaceAtPath(place.at('pinned'));
      expect(nameOf(found.fd)).to.equal(running.name);
      expect(found.mapping).to.equal(undefined);
    }
    unmountCommand(place.at('pinned'));
  });

  it('is found in another /proc', async () => {
    using place = mountPlace();
    await using running = await sandbox();
    symlinkSync('/proc', place.at('proc'));
    using found = namespaceAtPath(place.at(`proc/${running.pid}/ns/user`));
    expect(found.mapping).to.deep.equal({ uid, gid });
  });

  it('is none where a path names something else', async () => {
    using directory = temporaryDirectory();
    writeFileSync(directory.at('file'), '');
    const rows: readonly [path: string, reason: SandboxReason][] = [
      [directory.at('file'), 'not-a-user-namespace'],
      ['/dev/null', 'not-a-user-namespace'],
      [directory.path, 'not-a-user-namespace'],
      ['/proc/self/ns/mnt', 'not-a-user-namespace'],
      ['/proc/self/ns/user', 'own-namespace'],
      [directory.at('missing'), 'process-gone'],
    ];
    for (const [path, reason] of rows)
      expect(
        reasonOf(() => namespaceAtPath(path)),
        path,
      ).to.equal(reason);
  });
});

describe('expectMapping()', () => {
  const ids = (text: string) => parseIdMapping(text, 'ids');

  it('takes one mapping however it is written', () => {
    const parts = ids('10:300000:5,5:200005:5,0:200000:5');
    expect(() => expectMapping({ uid, gid: parts }, { uid, gid })).not.to.throw();
  });

  it('names both where they differ', () => {
    const rows = [
      { uid: gid, gid: uid },
      { uid, gid: ids('0:200000:10') },
      { uid: ids('0:100001:65536'), gid },
    ];
    for (const other of rows) {
      expect(reasonOf(() => expectMapping(other, { uid, gid }))).to.equal('other-mapping');
      expect(() => expectMapping(other, { uid, gid })).to.throw(
        `the sandbox has the mapping uid ${formatIdMapping(other.uid)}, gid ${formatIdMapping(other.gid)}, and`,
      );
    }
  });
});
