// User namespaces with a mapping.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { SyscallError } from '../../../src/sys/errors.ts';
import { createUserNamespace } from '../../../src/userns/create.ts';
import { formatKernelMap, type IdMapping, parseIdMapping } from '../../../src/userns/mapping.ts';
import { eventually, temporaryDirectory } from '../../support/fixtures.ts';
import { descendants, openDescriptors } from '../../support/leaks.ts';
import { needRoot, needTool } from '../../support/need.ts';

const ids = (text: string): IdMapping => parseIdMapping(text, 'ids');

/** The maps as a process in the namespace reads them, spaces made single. */
function mapsIn(namespace: number): { uid: string; gid: string } {
  const args = [
    '--preserve-credentials',
    '--user=/proc/self/fd/3',
    'cat',
    '/proc/self/uid_map',
    '/proc/self/gid_map',
  ];
  const stdio = ['ignore', 'pipe', 'inherit', namespace] as const;
  const lines = execFileSync('nsenter', args, { encoding: 'utf8', stdio: [...stdio] })
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `${line.trim().split(/\s+/).join(' ')}\n`);
  return { uid: lines.slice(0, lines.length / 2).join(''), gid: lines.slice(lines.length / 2).join('') };
}

describe('createUserNamespace()', () => {
  before(function () {
    needRoot(this, 'mapping the ids of others takes CAP_SETUID');
  });

  for (const [uid, gid] of [
    ['0:100000:65536', '0:200000:65536'],
    ['0:1000:1,1:0:1', '5:7:3,100:1:2'],
    ['4294967294:4294967294:1', '0:0:4294967295'],
  ] as const) {
    it(`maps users ${uid} and groups ${gid}, as a process in it sees`, function () {
      needTool(this, 'nsenter', 'the maps are read inside');
      using namespace = createUserNamespace({ uid: ids(uid), gid: ids(gid) });
      const maps = mapsIn(namespace.number);
      if (uid.split(',').length === gid.split(',').length) {
        expect(maps).to.deep.equal({ uid: formatKernelMap(ids(uid)), gid: formatKernelMap(ids(gid)) });
      } else expect(maps.uid + maps.gid).to.equal(formatKernelMap([...ids(uid), ...ids(gid)]));
    });
  }

  it('maps as many extents as the kernel takes', function () {
    needTool(this, 'nsenter', 'the maps are read inside');
    const many = ids(Array.from({ length: 340 }, (_, i) => `${i}:${i + 500}:1`).join(','));
    using namespace = createUserNamespace({ uid: many, gid: many });
    expect(mapsIn(namespace.number).uid).to.equal(formatKernelMap(many));
  });

  it('makes a namespace of its own each time', () => {
    const mapping = { uid: ids('0:1:1'), gid: ids('0:1:1') };
    using one = createUserNamespace(mapping);
    using two = createUserNamespace(mapping);
    expect(`${one}`).to.match(/<user:\[\d+\]>$/);
    expect(`${one}`).to.not.equal(`${two}`);
  });

  it('leaves no process, zombie or descriptor, 300 times in a row', () => {
    const mapping = { uid: ids('0:100000:65536'), gid: ids('0:100000:65536') };
    const before = openDescriptors(process.pid);
    for (let i = 0; i < 300; i++) createUserNamespace(mapping)[Symbol.dispose]();
    expect(openDescriptors(process.pid)).to.deep.equal(before);
    expect(descendants(process.pid)).to.deep.equal([]);
  });

  it('holds 300 at the same time', () => {
    const mapping = { uid: ids('0:100000:65536'), gid: ids('0:100000:65536') };
    using held = new DisposableStack();
    const names = Array.from({ length: 300 }, () => `${held.use(createUserNamespace(mapping))}`);
    expect(new Set(names.map((name) => name.replace(/^\d+/, ''))).size).to.equal(300);
    expect(descendants(process.pid)).to.deep.equal([]);
  });

  it('leaves nothing when the kernel refuses the mapping, and says which', () => {
    const overlapping = [...ids('0:5:10'), ...ids('3:50:10')];
    const before = openDescriptors(process.pid);
    for (let i = 0; i < 20; i++) {
      expect(() => createUserNamespace({ uid: ids('0:0:1'), gid: overlapping }))
        .to.throw(
          SyscallError,
          /^write\(\/proc\/\d+\/gid_map, "0 5 10\\n3 50 10\\n"\) = EINVAL: the kernel refused the mapping/,
        )
        .with.property('code', 'EINVAL');
    }
    expect(openDescriptors(process.pid)).to.deep.equal(before);
    expect(descendants(process.pid)).to.deep.equal([]);
  });

  it('says what is missing to whoever may not map these ids', async () => {
    using directory = temporaryDirectory();
    // A copy that everyone may read, wherever the checkout is.
    const root = join(import.meta.dirname, '../../..');
    for (const name of ['src/sys', 'src/userns', 'test/kernel/userns']) {
      cpSync(join(root, name), directory.at(name), { recursive: true });
    }
    cpSync(join(root, 'package.json'), directory.at('package.json'));
    mkdirSync(directory.at('node_modules/@koromix'), { recursive: true });
    for (const name of ['koffi', '@koromix']) {
      cpSync(join(root, 'node_modules', name), directory.at('node_modules', name), { recursive: true });
    }
    cpSync(process.execPath, directory.at('node'));
    const { stdout } = await promisify(execFile)(
      directory.at('node'),
      [directory.at('test/kernel/userns/unprivileged.fixture.ts')],
      { uid: 65_534, gid: 65_534, cwd: '/', env: {} },
    );
    const { code, message } = JSON.parse(stdout);
    expect(code).to.equal('EPERM');
    expect(message).to.match(
      /uid_map.*= EPERM: this mapping is not permitted: it needs CAP_SETUID and CAP_SETGID/,
    );
  });

  it('is not disturbed by signals to the process group, and no child runs our handlers', async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'signalled.fixture.ts')], {
      // Makes it the leader of a process group.
      detached: true,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    await eventually('it begins', () => text.includes('ready'));
    const sent = 300;
    for (let i = 0; i < sent; i++) {
      process.kill(-(child.pid ?? 0), 'SIGUSR2');
      await sleep(1);
    }
    child.stdin.end();
    await eventually('it ends', () => text.includes('}'));
    const { handled, made } = JSON.parse(text.split('\n')[1] ?? '');
    expect(made).to.be.greaterThan(50);
    expect(handled).to.be.within(1, sent);
  });
});
