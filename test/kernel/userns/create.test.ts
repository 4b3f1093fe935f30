// User namespaces with a mapping, in each way of making one.
import { execFile, spawn } from 'node:child_process';
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
import { needTool } from '../../support/need.ts';
import { longestMapping } from '../../unit/userns/mappings.ts';
import { mapsIn } from './maps.ts';
import { describeWays } from './ways.ts';

const ids = (text: string): IdMapping => parseIdMapping(text, 'ids');
const fixture = (name: string): string => join(import.meta.dirname, name);

describeWays('createUserNamespace()', ({ options, without }) => {
  const spawns = without.includes('clone-pidfd');
  const create = (uid: IdMapping, gid = uid) => createUserNamespace({ uid, gid }, options);
  /** What was spawned is reaped by the event loop, on one of its next turns. */
  const noneLeft = () => eventually('no process is left', () => descendants(process.pid).length === 0);

  for (const [uid, gid] of [
    ['0:100000:65536', '0:200000:65536'],
    ['0:1000:1,1:0:1', '5:7:3,100:1:2'],
    ['4294967294:4294967294:1', '0:0:4294967295'],
  ] as const) {
    it(`maps users ${uid} and groups ${gid}, as a process in it sees`, async function () {
      needTool(this, 'nsenter', 'the maps are read inside');
      using namespace = create(ids(uid), ids(gid));
      const expected = { uid: formatKernelMap(ids(uid)), gid: formatKernelMap(ids(gid)) };
      expect(await mapsIn(namespace.number)).to.deep.equal(expected);
    });
  }

  it('maps as many extents, and as much text, as the kernel takes', async function () {
    needTool(this, 'nsenter', 'the maps are read inside');
    const many = ids(Array.from({ length: 340 }, (_, i) => `${i}:${i + 500}:1`).join(','));
    using namespace = create(many, longestMapping);
    expect(await mapsIn(namespace.number)).to.deep.equal({
      uid: formatKernelMap(many),
      gid: formatKernelMap(longestMapping),
    });
  });

  it('makes a namespace of its own each time', () => {
    using one = create(ids('0:1:1'));
    using two = create(ids('0:1:1'));
    expect(`${one}`).to.match(/<user:\[\d+\]>$/);
    expect(`${one}`).to.not.equal(`${two}`);
  });

  it('leaves no process, zombie or descriptor, 300 times in a row', async () => {
    const before = openDescriptors(process.pid);
    for (let i = 0; i < 300; i++) create(ids('0:100000:65536'))[Symbol.dispose]();
    expect(openDescriptors(process.pid)).to.deep.equal(before);
    await noneLeft();
  });

  it('holds 300 at the same time', async () => {
    using held = new DisposableStack();
    const names = Array.from({ length: 300 }, () => `${held.use(create(ids('0:100000:65536')))}`);
    expect(new Set(names.map((name) => name.replace(/^\d+/, ''))).size).to.equal(300);
    await noneLeft();
  });

  it('leaves nothing when the kernel refuses the mapping, and says which', async () => {
    const overlapping = [...ids('0:5:10'), ...ids('3:50:10')];
    const before = openDescriptors(process.pid);
    for (let i = 0; i < 20; i++) {
      expect(() => create(ids('0:0:1'), overlapping))
        .to.throw(
          SyscallError,
          /^write\(\/proc\/\d+\/gid_map, "0 5 10\\n3 50 10\\n"\) = EINVAL: the kernel refused the mapping/,
        )
        .with.property('code', 'EINVAL');
    }
    expect(openDescriptors(process.pid)).to.deep.equal(before);
    await noneLeft();
  });

  const HOST = '0:100000:10';
  /** What createUserNamespace() says to a process that begins like this. */
  async function failureUnder(command: readonly string[], mapping = HOST) {
    const [program = '', ...args] = [
      ...command,
      process.execPath,
      fixture('creating.fixture.ts'),
      without.join(),
      mapping,
    ];
    const { stdout } = await promisify(execFile)(program, args);
    return JSON.parse(stdout) as { code: string; message: string };
  }

  for (const [capability, mapping, file] of [
    ['setuid', HOST, 'uid_map'],
    ['setgid', HOST, 'gid_map'],
    ['setfcap', '0:0:10', 'uid_map'],
  ] as const) {
    it(`says that CAP_${capability.toUpperCase()} is missing for ${mapping}`, async function () {
      needTool(this, 'setpriv', 'a process that lacks a capability');
      const drop = ['setpriv', `--bounding-set=-${capability}`, `--inh-caps=-${capability}`];
      const { code, message } = await failureUnder(drop, mapping);
      expect(code).to.equal('EPERM');
      const lacks = `this process lacks CAP_${capability.toUpperCase()}$`;
      expect(message).to.match(new RegExp(`/${file}, .*= EPERM: this mapping is not permitted: ${lacks}`));
    });
  }

  it('says that host ids must exist, where they do not', async function () {
    needTool(this, 'unshare', 'a user namespace in which only root exists');
    const { code, message } = await failureUnder(['unshare', '--user', '--map-root-user']);
    expect(code).to.equal('EPERM');
    expect(message).to.contain('its host ids must exist in the user namespace of this process');
  });

  it('says where the limit is, when there are too many namespaces', async function () {
    needTool(this, 'unshare', 'a user namespace with a limit of its own');
    const limited = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"';
    const { code, message } = await failureUnder(
      ['unshare', '--user', '--map-root-user', 'sh', '-ec', limited, 'sh'],
      '0:0:1',
    );
    expect(code).to.equal('ENOSPC');
    expect(message).to.contain('too many user namespaces; raise /proc/sys/user/max_user_namespaces');
  });

  it('says that the kernel has no pidfds', async () => {
    const masking = join(import.meta.dirname, '../../support/without-syscalls.ts');
    const { code, message } = await failureUnder([process.execPath, masking, 'pidfd_open']);
    expect(code).to.equal('ENOSYS');
    expect(message).to.contain('pidfd_open').and.to.contain('this kernel has no pidfds (Linux 5.3)');
  });

  it('says what is missing to whoever is not root', async () => {
    using directory = temporaryDirectory();
    // A copy that everyone may read, wherever the checkout is.
    const root = join(import.meta.dirname, '../../..');
    for (const name of ['src/sys', 'src/userns', 'test/kernel/userns', 'test/support']) {
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
      [directory.at('test/kernel/userns/creating.fixture.ts'), without.join(), '0:0:10'],
      { uid: 65_534, gid: 65_534, cwd: '/', env: { PATH: process.env.PATH } },
    );
    const { code, message } = JSON.parse(stdout);
    expect(code).to.equal('EPERM');
    expect(message).to.match(/uid_map.*= EPERM: .* lacks CAP_SETUID and CAP_SETFCAP/);
  });

  it('is not disturbed by signals to the process group, and no child runs our handlers', async () => {
    const child = spawn(process.execPath, [fixture('signalled.fixture.ts'), without.join()], {
      // Makes it the leader of a process group.
      detached: true,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    await eventually('it begins', () => text.includes('ready'));
    // A spawned child may be killed until it has a session of its own, which is retried; not at this rate.
    const [least, everyMs] = spawns ? [8, 150] : [300, 1];
    let sent = 0;
    for (; sent < least || text.split('.').length < 4; sent++) {
      process.kill(-(child.pid ?? 0), 'SIGUSR2');
      await sleep(everyMs);
    }
    child.stdin.end();
    await eventually('it ends', () => text.includes('}'));
    const { handled } = JSON.parse(text.slice(text.indexOf('{')));
    expect(handled).to.be.within(1, sent);
  });
});
