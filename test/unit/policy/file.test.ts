// The policy of a file: wrong at start, it is an error; changed later, it is read again; wrong later, the one from
// before goes on. Files as people write them, and as kubelet mounts ConfigMaps.
import { mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { readPolicyFile, type WatchedPolicy, watchPolicy } from '../../../src/policy/file.ts';
import { eventually, type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';

const policyNamed = (name: string) =>
  `version: 1\nrules:\n  - { name: ${name}, class: inline, types: [tmpfs] }\n`;
const nameIn = (watched: WatchedPolicy) => watched.current().rules[0]?.label.replace(/ .*/, '');

describe('the policy of a file', () => {
  let directory: TemporaryDirectory;
  let file: string;
  let changes: string[];
  let problems: string[];
  beforeEach(() => {
    directory = temporaryDirectory();
    file = directory.at('policy.yaml');
    [changes, problems] = [[], []];
  });
  afterEach(() => directory[Symbol.dispose]());

  const start = (pollMs = 3_600_000) =>
    watchPolicy({
      file,
      pollMs,
      onChange: ({ rules }) => changes.push(rules[0]?.label ?? ''),
      onProblem: (message) => problems.push(message),
    });

  it('is an error at start when there is none', () => {
    expect(start).to.throw(Error, new RegExp(`^policy ${file}: ENOENT`));
  });

  it('is an error at start when it is wrong, with all that is', () => {
    writeFileSync(file, 'version: 2\nrules: none');
    expect(start).to.throw(
      Error,
      new RegExp(`^policy ${file}: \n  version \\(line 1\\): .*\n  rules \\(line 2\\): `),
    );
    writeFileSync(file, 'version: 2\nrules: []');
    expect(start).to.throw(Error, new RegExp(`^policy ${file}: version \\(line 1\\): `));
  });

  it('is an error when it is too large, or a directory', () => {
    writeFileSync(file, `# ${'x'.repeat(2 ** 20)}`);
    expect(() => readPolicyFile(file)).to.throw(Error, /1048578 bytes; a policy has 1048576 at most/);
    expect(() => readPolicyFile(directory.path)).to.throw(Error, /EISDIR/);
  });

  for (const [what, replace] of [
    ['written over', (text: string) => writeFileSync(file, text)],
    [
      'replaced by another',
      (text: string) => {
        writeFileSync(`${file}.new`, text);
        renameSync(`${file}.new`, file);
      },
    ],
  ] as const) {
    it(`is read again when the file is ${what}`, async () => {
      writeFileSync(file, policyNamed('first'));
      using watched = start();
      expect(nameIn(watched)).to.equal('first');
      replace(policyNamed('second'));
      await eventually('the new policy', () => nameIn(watched) === 'second');
      replace(policyNamed('third'));
      await eventually('the new policy', () => nameIn(watched) === 'third');
      expect(changes).to.deep.equal(['second (rules[0])', 'third (rules[0])']);
      expect(problems).to.deep.equal([]);
    });
  }

  it('is read again when a ConfigMap changes: the link ..data is another one then', async () => {
    const publish = (version: string) => {
      mkdirSync(directory.at(`..${version}`));
      writeFileSync(directory.at(`..${version}`, 'policy.yaml'), policyNamed(version));
      symlinkSync(`..${version}`, directory.at('..data_tmp'));
      renameSync(directory.at('..data_tmp'), directory.at('..data'));
    };
    publish('first');
    symlinkSync('..data/policy.yaml', file);
    using watched = start();
    publish('second');
    rmSync(directory.at('..first'), { recursive: true });
    await eventually('the new policy', () => nameIn(watched) === 'second');
    expect(problems).to.deep.equal([]);
  });

  it('is looked at from time to time, should no event come', async () => {
    mkdirSync(directory.at('elsewhere'));
    writeFileSync(directory.at('elsewhere/policy.yaml'), policyNamed('first'));
    symlinkSync('elsewhere/policy.yaml', file);
    using watched = start(20);
    writeFileSync(directory.at('elsewhere/policy.yaml'), policyNamed('second'));
    await eventually('the new policy', () => nameIn(watched) === 'second');
  });

  it('stays what it was while the file is wrong, which is told once, and again when it is wrong again', async () => {
    writeFileSync(file, policyNamed('first'));
    using watched = start(10);
    const wrong = async (text: string, message: RegExp) => {
      const before = problems.length;
      writeFileSync(file, text);
      await eventually('a report', () => problems.length > before);
      await delay(50);
      expect(problems.slice(before)).to.have.length(1);
      expect(problems[before])
        .to.match(message)
        .and.to.match(/; the policy from before goes on$/);
      expect(nameIn(watched)).to.equal('first');
    };
    await wrong('version: 3\nrules: []', /version \(line 1\): 3/);
    writeFileSync(file, policyNamed('first'));
    await delay(50);
    await wrong('version: 3\nrules: []', /version \(line 1\): 3/);
    expect(changes).to.deep.equal([]);
  });

  it('stays what it was while the file is missing, and is read when it is back', async () => {
    writeFileSync(file, policyNamed('first'));
    using watched = start();
    unlinkSync(file);
    await eventually('a report', () => problems.length > 0);
    expect(problems[0]).to.match(/ENOENT.*; the policy from before goes on$/);
    expect(nameIn(watched)).to.equal('first');
    writeFileSync(file, policyNamed('second'));
    await eventually('the new policy', () => nameIn(watched) === 'second');
  });
});
