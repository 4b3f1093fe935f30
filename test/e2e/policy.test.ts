// What a volume may not have although the kernel would give it: options that would get round the keys of the
// volume context, `ro` that would not hold, and what the authors of pods cannot be trusted with.
import { expect } from 'chai';
import { writeFiles } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { theMountAt } from './kernel.ts';
import { MAPPING } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';
import { podOn } from './pod.ts';
import { PROPAGATION_WORDS } from './propagation-words.ts';
import { expectRefused } from './refusal.ts';
import { type Context, capability, volumeOn } from './volume.ts';

/** Some 4 KiB. */
const LONG_MAP = Array.from({ length: 300 }, (_, i) => `${2 * i}:${100_000 + i}:1`).join(',');

const SMUGGLED: Readonly<Record<string, readonly string[]>> = {
  'paths of the node': [
    ...['lowerdir=/etc', 'lowerdir+=/etc', 'datadir+=/etc', 'upperdir=/etc', 'workdir=/etc', 'source=/etc'],
    ...['fd=3', 'loop', 'loop=/dev/loop0', 'x-mount.mkdir', 'X-mount.subdir=/etc'],
  ],
  propagation: PROPAGATION_WORDS,
  privileges: [
    'suid',
    'dev',
    'rsuid',
    'rdev',
    'symfollow',
    'nosuid=0',
    'defaults=suid',
    'mode=4755',
    'uid=-1',
  ],
  'security labels': ['context=system_u:object_r:tmp_t:s0', 'fscontext=x', 'rootcontext=x', 'defcontext=x'],
  mappings: [`uidmap=${LONG_MAP}`, `gidmap=${LONG_MAP}`, 'X-mount.idmap=0:0:1', 'uidmap=0:0:1', 'user_id=0'],
  'what overlayfs would take': [
    ...['userxattr', 'volatile', 'redirect_dir=on', 'metacopy=on', 'index=on', 'nfs_export=on'],
    ...['verity=require', 'override_creds'],
  ],
  'other operations': ['remount', 'remount,bind', 'move'],
  'other spellings': [
    ...['RO', ' ro', 'ro ', 'rro', 'noexec\n', 'noexec\0', 'noexec\tsuid', 'size=1m\0suid', 'size=1m\n'],
    ...['size=1m;ro', 'size=', 'size', '=', '=ro', '-o', '\x1b[2J', 'constructor', '__proto__'],
    ...['"lowerdir=/etc"', 'low"erdir=/e"tc', '"mode=0755,suid"', 'mode="0755,suid"', 'mode=0755\\,suid'],
  ],
};

describe('the policy', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
    writeFiles(node.at('data'), { 'a/file': 'a', 'b/file': 'b', 'upper/': {}, 'work/': {} });
  });
  after(() => node?.[Symbol.asyncDispose]());

  const CONTEXTS: Readonly<Record<string, () => Context>> = {
    bind: () => ({ source: node.at('data/a') }),
    tmpfs: () => ({ type: 'tmpfs' }),
    overlay: () => ({ type: 'overlay', lowerdir: `${node.at('data/a')}:${node.at('data/b')}` }),
  };
  const contextOf = (type: string): Context => CONTEXTS[type]?.() ?? {};

  for (const type of Object.keys(CONTEXTS)) {
    describe(`refuses options that a ${type} must not have`, () => {
      for (const [what, options] of Object.entries(SMUGGLED)) {
        it(what, async () => {
          const context = contextOf(type);
          await using volume = volumeOn(node, { context });
          for (const option of options) {
            const refusal = { code: ['PERMISSION_DENIED', 'INVALID_ARGUMENT'], message: /option/ } as const;
            for (const changes of [
              { volumeContext: { ...context, options: option } },
              { volumeContext: { ...context, options: `noatime,${option},noexec` } },
              { volumeCapability: capability('SINGLE_NODE_WRITER', [option]) },
              { volumeCapability: capability('SINGLE_NODE_WRITER', ['noatime', option.replaceAll('"', '')]) },
            ]) {
              await expectRefused(node, () => volume.stage(changes), refusal);
            }
          }
        });
      }
    });
  }

  it('refuses them at publish too, naming option and type', async () => {
    await using volume = volumeOn(node, { context: contextOf('overlay') });
    await volume.stage();
    const publish = () =>
      volume.publish({ volumeCapability: capability('SINGLE_NODE_WRITER', ['lowerdir=/etc']) });
    await expectRefused(node, publish, {
      code: 'PERMISSION_DENIED',
      message: /"lowerdir=\/etc" is not allowed for type overlay/,
      target: volume.target,
    });
  });

  it('lets pass what is allowed, quoted or not', async () => {
    const options = 'noatime,"mode=0700",size=64k';
    await using volume = volumeOn(node, { context: { type: 'tmpfs', options } });
    const volumeCapability = capability('SINGLE_NODE_WRITER', ['noexec', 'nr_inodes=10']);
    expect(await volume.stage({ volumeCapability })).to.include({ code: 'OK' });
    const mount = theMountAt(volume.stagingPath);
    expect(mount.options).to.include.members(['noatime', 'noexec', 'nosuid', 'nodev']);
    expect(mount.superblock).to.include.members(['size=64k', 'nr_inodes=10', 'mode=700']);
  });

  describe('ro on a bind', () => {
    const asked = { options: { options: 'ro' }, mount_flags: {} };
    for (const [how, more] of Object.entries(asked)) {
      const volumeCapability = capability('SINGLE_NODE_WRITER', how === 'mount_flags' ? ['ro'] : []);
      const makeVolume = () => volumeOn(node, { context: { ...contextOf('bind'), ...more } });

      it(`by ${how} is refused unless the request is read-only, with the remedy`, async () => {
        await using volume = makeVolume();
        await volume.stage({ volumeCapability });
        const message = /^options: ro on a bind .*readOnly: true/;
        const { target } = volume;
        const publish = () => volume.publish({ volumeCapability });
        await expectRefused(node, publish, { code: 'INVALID_ARGUMENT', message, target });
      });

      it(`by ${how} is served when the request is read-only`, async () => {
        await using volume = makeVolume();
        await volume.stage({ volumeCapability });
        expect(await volume.publish({ volumeCapability, readonly: true })).to.include({ code: 'OK' });
        expect(theMountAt(volume.target).options).to.include('ro');
      });
    }

    it('is no concern of an overlay, which is read-only by itself', async () => {
      await using volume = volumeOn(node, { context: { ...contextOf('overlay'), options: 'ro' } });
      expect(await volume.stage()).to.include({ code: 'OK' });
      expect(await volume.publish()).to.include({ code: 'OK' });
      expect(theMountAt(volume.target).superblock).to.include('ro');
    });
  });

  describe('refuses in an inline volume, whose author is not trusted,', () => {
    const rows: readonly (readonly [what: string, context: () => Context, message: RegExp])[] = [
      ['a bind', () => contextOf('bind'), /^type bind: .*provide a PersistentVolume$/],
      [
        'an overlay of anything',
        () => contextOf('overlay'),
        /^lowerdir .* lies outside of the roots .*\/var\/lib\/csi-driver-idmap\/volumes\/default \(read-only\).*provide a PersistentVolume$/,
      ],
      [
        'an overlay with upperdir',
        () => ({ ...contextOf('overlay'), upperdir: node.at('data/upper'), workdir: node.at('data/work') }),
        /^writable: persistent: .*provide a PersistentVolume$/,
      ],
      [
        'an ID mapping',
        () => ({ type: 'tmpfs', uidmap: MAPPING, gidmap: MAPPING }),
        /^uidmap and gidmap: .*provide a PersistentVolume$/,
      ],
      ['an option that none may have', () => ({ type: 'tmpfs', options: 'suid' }), /"suid" is not allowed/],
    ];
    for (const [what, context, message] of rows) {
      it(what, async () => {
        await using volume = volumeOn(node, { context: context(), inline: true });
        const { target } = volume;
        await expectRefused(node, () => volume.publish(), { code: 'PERMISSION_DENIED', message, target });
      });
    }

    it('that it is of another pod than the one in whose directory it goes', async () => {
      using pod = podOn(node);
      using other = podOn(node, 'other');
      await using volume = volumeOn(node, { context: { type: 'tmpfs' }, inline: true });
      const targetPath = pod.targetOf('data');
      const publish = ({ info }: typeof pod) =>
        volume.publish({ targetPath, volumeContext: { ...volume.context, ...info } });
      const message = /is not in the directory of pod/;
      await expectRefused(node, () => publish(other), {
        ...{ code: 'INVALID_ARGUMENT', message, target: targetPath },
      });
      expect(await publish(pod)).to.include({ message: '', code: 'OK' });
    });

    it('the staging path of a persistent one', async () => {
      await using persistent = volumeOn(node, { context: contextOf('bind') });
      await persistent.stage();
      await using volume = volumeOn(node, { context: contextOf('bind'), inline: true });
      const { id: volumeId, stagingPath: stagingTargetPath } = persistent;
      const publish = () => volume.publish({ volumeId, stagingTargetPath });
      const { target } = volume;
      await expectRefused(node, publish, { code: 'PERMISSION_DENIED', message: /^type bind/, target });
    });
  });
});
