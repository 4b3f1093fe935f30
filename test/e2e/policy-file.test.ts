// The policy as operators have it: a file that the driver is started with, that it reads again when it changes, that
// `doctor` explains and `plan` applies.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { startPlugin } from '../sanity/plugin.ts';
import {
  eventually,
  mountPlace,
  type TemporaryDirectory,
  temporaryDirectory,
  writeFiles,
} from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { expectFailure, expectSuccess, run } from './command.ts';
import { theMountAt } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { expectRefused } from './refusal.ts';
import { flagsOf, serve } from './serve.ts';
import { type Context, volumeOn } from './volume.ts';

const TMPFS_ONLY = 'version: 1\nrules:\n  - { class: inline, types: [tmpfs], sizeLimit: { default: 1Mi } }\n';
const NONE = 'version: 1\nrules: []\n';

describe('a policy file', () => {
  describe('of a driver that runs', () => {
    let node: TestNode;
    const file = (directory = node.directory) => `${directory}/policy.yaml`;
    const replace = (text: string, directory?: string) => {
      writeFileSync(`${file(directory)}.new`, text);
      renameSync(`${file(directory)}.new`, file(directory));
    };
    const logged = (text: string) => node.plugin.log.filter((line) => line.text.includes(text)).length;

    before(async function () {
      needRoot(this, 'the plugin mounts');
      node = await startNode({
        start(directory) {
          replace(TMPFS_ONLY, directory);
          return startPlugin(directory, ['--policy', file(directory)]);
        },
      });
      writeFiles(node.at('data'), { file: 'content' });
    });
    after(() => node?.[Symbol.asyncDispose]());

    const tmpfs: Context = { type: 'tmpfs' };

    it('says what is allowed, and on which terms', async () => {
      await using volume = volumeOn(node, { context: tmpfs, inline: true });
      expect(await volume.publish()).to.include({ code: 'OK' });
      const { superblock, options } = theMountAt(volume.target);
      expect(superblock).to.include('size=1024k');
      expect(options).to.include.members(['nosuid', 'nodev']);
      await using persistent = volumeOn(node, { context: { source: node.at('data') } });
      const message = /^no rule of the policy is for this persistent volume/;
      await expectRefused(node, () => persistent.stage(), { code: 'PERMISSION_DENIED', message });
    });

    it('is read again when it changes, and what is there stays there', async () => {
      await using there = volumeOn(node, { context: tmpfs, inline: true });
      expect(await there.publish()).to.include({ code: 'OK' });
      const changes = logged('the policy has changed');
      replace(NONE);
      await eventually('the new policy', () => logged('the policy has changed') > changes);
      const { id } = theMountAt(there.target);
      expect(await there.publish(), 'the same again').to.include({ code: 'OK' });
      expect(theMountAt(there.target).id).to.equal(id);
      const refusals = () => logged('the policy refuses what was mounted under an earlier one');
      await eventually('it is reported', () => refusals() > 0);
      expect(refusals()).to.equal(1);
      await using other = volumeOn(node, { context: tmpfs, inline: true });
      const { target } = other;
      const message = /^no rule of the policy is for inline volumes/;
      await expectRefused(node, () => other.publish(), { code: 'PERMISSION_DENIED', message, target });
      const options = 'size=2m';
      const changed = { volumeContext: { ...there.context, options } };
      await expectRefused(node, () => there.publish(changed), { code: 'PERMISSION_DENIED', message });
      replace(TMPFS_ONLY);
      await eventually('the new policy', () => logged('the policy has changed') > changes + 1);
      expect(await other.publish()).to.include({ code: 'OK' });
    });

    it('that becomes wrong is reported, and the one from before goes on', async () => {
      replace('version: 1\nrules: [{ class: inline, types: [proc] }]');
      await eventually('a report', () => logged('the policy cannot be read') > 0);
      const [line] = node.plugin.log.filter(({ text }) => text.includes('the policy cannot be read'));
      expect(line?.text).to.match(/rules\[0\]\.types\[0\] \(line 2\).*the policy from before goes on/);
      await using volume = volumeOn(node, { context: tmpfs, inline: true });
      expect(await volume.publish()).to.include({ code: 'OK' });
      replace(TMPFS_ONLY);
    });
  });

  describe('that is wrong at start', () => {
    const rows: readonly (readonly [what: string, text: string | undefined, message: RegExp])[] = [
      ['missing', undefined, /policy .*policy\.yaml: ENOENT/],
      ['not YAML', '{', /policy .*policy\.yaml: no YAML/],
      ['not a policy', 'version: 1\nrule: []', /policy .*policy\.yaml: .*did you mean rules\?/s],
    ];
    for (const [what, text, message] of rows) {
      it(`because it is ${what} keeps the driver from starting`, async function () {
        needRoot(this, 'the plugin would mount');
        using place = mountPlace();
        mkdirSync(place.at('kubelet'));
        if (text !== undefined) writeFileSync(place.at('policy.yaml'), text);
        const { ended, said } = serve([...flagsOf(place.path), '--policy', place.at('policy.yaml')]);
        expect(await ended).to.equal(1);
        expect(said.join('\n')).to.match(message);
      });
    }
  });

  describe('for commands', () => {
    let directory: TemporaryDirectory;
    let policy: string;
    before(() => {
      directory = temporaryDirectory();
      policy = directory.at('policy.yaml');
      writeFileSync(policy, TMPFS_ONLY);
    });
    after(() => directory[Symbol.dispose]());

    const INLINE = { 'csi.storage.k8s.io/ephemeral': 'true' };
    function planOf(context: Context, ...flags: string[]) {
      writeFileSync(directory.at('context.json'), JSON.stringify(context));
      return run(['plan', '--volume-context', directory.at('context.json'), ...flags]);
    }

    it('is explained by doctor', () => {
      const { stdout } = run(['doctor', '--policy', policy]);
      expect(stdout).to.contain(`policy ${policy}\n\nrules[0]: inline volumes\n  types `);
      expect(JSON.parse(run(['doctor', '--json', '--policy', policy]).stdout).policy).to.match(
        /^rules\[0\]: /,
      );
    });

    it('that is wrong is an error of doctor, which names the place', () => {
      writeFileSync(directory.at('wrong.yaml'), `${NONE}roots: []\n`);
      expectFailure(
        run(['doctor', '--policy', directory.at('wrong.yaml')]),
        /wrong\.yaml: the file .*no key roots/,
      );
    });

    it('is applied by plan', () => {
      const allowed = planOf({ ...INLINE, type: 'tmpfs' }, '--policy', policy);
      expectSuccess(allowed);
      expect(allowed.stdout).to.contain('size = "1048576"');
      expectFailure(
        planOf({ source: '/srv' }, '--policy', policy),
        /no rule of the policy is for this persistent/,
      );
      expectSuccess(planOf({ source: '/srv' }));
      expectFailure(
        planOf({ source: '/var/lib/kubelet/pods' }),
        /\/var\/lib\/kubelet is never shown in a volume/,
      );
    });
  });
});
