// `userns` as its users have it: what the command sees in the namespace, and its exit status.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { symlinkSync } from 'node:fs';
import { expect } from 'chai';
import { eventually, ownerOf, temporaryDirectory, writeFiles } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { AS_NOBODY, expectSuccess, PROGRAM, plainEnvironment, run } from './command.ts';

const IDS = ['--uidmap', '0:100000:65536', '--gidmap', '0:200000:10,1000:300000:1'];
const inside = (...command: string[]) => run(['userns', ...IDS, '--', ...command]);

describe('the command userns', () => {
  before(function () {
    needRoot(this, 'mapping the ids of others takes CAP_SETUID');
    needTool(this, 'nsenter', 'it enters the namespace');
  });

  it('runs a command with the mapping, as the root of it', () => {
    const result = inside('sh', '-c', 'cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; id -G');
    expectSuccess(result);
    expect(result.stdout.split(/\s+/).filter(Boolean).map(Number)).to.deep.equal([
      ...[0, 100_000, 65_536],
      ...[0, 200_000, 10, 1000, 300_000, 1],
      ...[0, 0, 0],
    ]);
  });

  it('makes files that are of the host ids outside', () => {
    using directory = temporaryDirectory();
    writeFiles(directory.path, { 'own/': { uid: 100_000, mode: 0o755 } });
    expectSuccess(inside('touch', directory.at('own/file')));
    expect(ownerOf(directory.at('own/file'))).to.equal('100000:200000');
    expect(inside('touch', directory.at('file')).status).to.equal(1);
  });

  it('runs with the lowest ids where root is not mapped', () => {
    const result = run(['userns', '--uidmap', '500:1000:5,7:9000:1', '--gidmap', '3:1000:5', 'id']);
    expectSuccess(result);
    expect(result.stdout).to.match(/^uid=7\b.* gid=3\b/);
  });

  it('gives the command its own options, and no descriptor', () => {
    const list = ['ls', '-1', '/proc/self/fd'];
    const result = run(['userns', ...IDS, ...list]);
    expectSuccess(result);
    expect(result.stdout).to.equal(spawnSync('env', list, { encoding: 'utf8' }).stdout);
  });

  it('has the exit status of the command, also when a signal ends it', () => {
    expect(inside('sh', '-c', 'exit 7').status).to.equal(7);
    expect(inside('sh', '-c', 'kill -KILL $$').status).to.equal(137);
    expect(inside('/nonexistent'))
      .to.include({ status: 127 })
      .and.property('stderr')
      .match(/nonexistent/);
  });

  it('hands a SIGTERM on, and is not ended by a Ctrl-C that the command survives', async () => {
    const script =
      'trap "echo int" INT; trap "echo term; exit 3" TERM; echo ready; while :; do sleep 0.1; done';
    const child = spawn(PROGRAM, ['userns', ...IDS, '--', 'sh', '-c', script], {
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: plainEnvironment(),
    });
    const ended = once(child, 'exit');
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    const said = (word: string) => eventually(`it says ${word}`, () => text.includes(word));
    await said('ready');
    process.kill(-(child.pid ?? 0), 'SIGINT');
    await said('int');
    child.kill('SIGTERM');
    await said('term');
    expect(await ended).to.deep.equal([3, null]);
  });

  const refused: readonly [what: string, args: readonly string[], message: RegExp][] = [
    [
      'a mapping that is none',
      ['--uidmap', 'x', '--gidmap', '0:1:1'],
      /: --uidmap: "x" is not three decimal/,
    ],
    ['one that overlaps', ['--uidmap', '0:1:1', '--gidmap', '0:1:2,1:9:1'], /--gidmap: .* overlap in their/],
  ];
  for (const [what, args, message] of refused) {
    it(`refuses ${what} with exit status 125`, () => {
      const { status, stdout, stderr } = run(['userns', ...args, '--', 'true']);
      expect({ status, stdout }).to.deep.equal({ status: 125, stdout: '' });
      expect(stderr).to.match(message);
    });
  }

  it('refuses half a mapping, and no command, with its usage', () => {
    const half = run(['userns', '--uidmap', '0:1:1', '--', 'true']);
    expect(half.status).to.equal(1);
    expect(half.stderr).to.contain("required option '--gidmap <mapping>' not specified");
    const none = run(['userns', ...IDS]);
    expect(none.status).to.equal(1);
    expect(none.stderr).to.contain("missing required argument 'command'");
  });

  it('says to whoever is not root what is missing', function () {
    needTool(this, 'runuser', 'to become nobody');
    const { status, stderr } = run(['userns', ...IDS, '--', 'true'], { wrapper: AS_NOBODY });
    expect(status).to.equal(125);
    expect(stderr).to.match(
      /uid_map, .*= EPERM: this mapping is not permitted: this process lacks CAP_SETUID/,
    );
  });

  it('says what to install where there is no nsenter', () => {
    using directory = temporaryDirectory();
    // What the start script of the checkout uses.
    for (const tool of ['dirname', 'readlink']) symlinkSync(`/usr/bin/${tool}`, directory.at(tool));
    const { status, stderr } = run(['userns', ...IDS, '--', 'true'], { env: { PATH: directory.path } });
    expect(status).to.equal(125);
    expect(stderr).to.contain('nsenter (of util-linux), which enters the namespace, cannot be started');
  });
});
