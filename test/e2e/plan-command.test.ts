// `plan` as its users have it: what a mount or a volume would be made of, and nothing done.
import { mkdirSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { mountPlace, type TemporaryDirectory, temporaryDirectory } from '../support/fixtures.ts';
import { needKernel, needRoot, needTool } from '../support/need.ts';
import { AS_NOBODY, expectFailure, expectSuccess, run } from './command.ts';
import { mountsAt, mountsBelow } from './kernel.ts';

const MAPPING = '0:100000:65536';

describe('the command plan', () => {
  let directory: TemporaryDirectory;
  before(() => {
    directory = temporaryDirectory();
  });
  after(() => directory[Symbol.dispose]());

  const OPTIONS = `lowerdir=/layers/b:/layers/a,uidmap=${MAPPING},gidmap=${MAPPING}`;
  const ARGUMENTS = ['plan', '-t', 'overlay', '-o', OPTIONS, 'overlay', '/mnt'];

  it('prints the steps, from layers that need not be there, and does none', () => {
    const before = mountsBelow('/mnt');
    const result = run(ARGUMENTS);
    expectSuccess(result);
    const [title, ...steps] = result.stdout.trimEnd().split('\n');
    expect(title).to.equal('overlay at /mnt');
    expect(steps.length).to.be.greaterThan(4);
    for (const step of steps) expect(step).to.match(/^ {2}\S/);
    for (const part of ['/layers/a', '/layers/b', MAPPING]) expect(result.stdout).to.contain(part);
    expect(mountsAt('/mnt')).to.deep.equal([]);
    expect(mountsBelow('/mnt')).to.deep.equal(before);
  });

  it('mounts nothing, whatever is planned', function () {
    needRoot(this, 'without root it could not mount anyway');
    using place = mountPlace();
    mkdirSync(place.at('target'));
    mkdirSync(place.at('source'));
    const before = mountsBelow(place.path);
    expectSuccess(run(['plan', '-o', 'bind', place.at('source'), place.at('target')]));
    expectSuccess(run(['plan', '-t', 'tmpfs', 'tmpfs', place.at('target')]));
    expect(mountsBelow(place.path)).to.deep.equal(before);
  });

  for (const [type, ...args] of [
    ['auto', '-o', 'loop,ro', '/images/root.img'],
    ['bind', '-o', 'ro,bind', '/srv/data'],
  ]) {
    it(`is titled by what it takes the mount for without -t: ${type}`, () => {
      const result = run(['plan', ...args, '/mnt']);
      expectSuccess(result);
      expect(result.stdout.split('\n')[0]).to.equal(`${type} at /mnt`);
    });
  }

  it('needs no root', function () {
    needRoot(this, 'to become nobody');
    needTool(this, 'runuser', 'to become nobody');
    // Nobody may try what the kernel has, and has to take it for a new one.
    needKernel(this, '6.15', 'root knows that layers cannot be given by descriptor');
    const { stdout } = run(ARGUMENTS);
    const asNobody = run(ARGUMENTS, { wrapper: AS_NOBODY });
    expectSuccess(asNobody);
    expect(asNobody.stdout).to.equal(stdout);
  });

  it('--json gives the same steps for programs', () => {
    const result = run([...ARGUMENTS, '--json']);
    expectSuccess(result);
    const parts = JSON.parse(result.stdout) as { title: string; steps: { kind: string }[] }[];
    expect(parts.map(({ title }) => title)).to.deep.equal(['overlay at /mnt']);
    const [, ...lines] = run(ARGUMENTS).stdout.trimEnd().split('\n');
    expect(parts[0]?.steps).to.have.length(lines.length);
    expect(parts[0]?.steps.map(({ kind }) => kind)).to.include.members(['createUserNamespace', 'attach']);
  });

  it('of a volume context: stage and publish', () => {
    const file = directory.at('context.json');
    const context = { type: 'overlay', lowerdir: '/srv/data', uidmap: MAPPING, gidmap: MAPPING };
    writeFileSync(file, JSON.stringify(context));
    const result = run(['plan', '--volume-context', file]);
    expectSuccess(result);
    const { stdout } = result;
    expect(stdout)
      .to.match(/^stage at STAGING\n {2}/)
      .and.to.match(/^publish at TARGET\n {2}/m);
    expect(stdout).to.contain('"/srv/data"');
  });

  it('of an inline volume: publish alone', () => {
    const file = directory.at('inline.json');
    writeFileSync(file, JSON.stringify({ type: 'tmpfs', 'csi.storage.k8s.io/ephemeral': 'true' }));
    const { stdout } = run(['plan', '--volume-context', file]);
    expect(stdout).to.match(/^publish at TARGET\n {2}/);
    expect(stdout).to.not.contain('stage');
  });

  const wrong: readonly (readonly [what: string, context: unknown, message: RegExp])[] = [
    ['an unknown key', { sourc: '/srv' }, /sourc: .*did you mean source\?/],
    ['a refused option', { source: '/srv', options: 'suid' }, /option "suid" is not allowed for type bind/],
    [
      'what is not allowed inline',
      { source: '/srv', 'csi.storage.k8s.io/ephemeral': 'true' },
      /type bind: pods \(rules\[1\]\) allows tmpfs, overlay/,
    ],
  ];
  for (const [what, context, message] of wrong) {
    it(`of a volume context with ${what}: exit status 1`, () => {
      const file = directory.at('wrong.json');
      writeFileSync(file, JSON.stringify(context));
      expectFailure(run(['plan', '--volume-context', file]), message);
    });
  }

  for (const [what, text] of [
    ['a list', '[]'],
    ['null', 'null'],
    ['values that are no strings', '{"source": 7}'],
    ['no JSON at all', 'source: /srv'],
  ] as const) {
    it(`of a file that holds ${what}: exit status 1, and the file named`, () => {
      const file = directory.at('no-context.json');
      writeFileSync(file, text);
      expectFailure(run(['plan', '--volume-context', file]), /no-context\.json/);
    });
  }

  it('of a file that is not there, or of nothing: exit status 1', () => {
    expectFailure(run(['plan', '--volume-context', directory.at('absent.json')]), /absent\.json/);
    expectFailure(run(['plan']), /give SOURCE and TARGET, or --volume-context FILE/);
  });
});
