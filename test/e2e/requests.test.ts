// The fields of requests, as the CSI specification has them: what is required, what they may hold, and what a
// plugin answers that does not do it.
import { expect } from 'chai';
import {
  VolumeCapability_AccessMode_Mode as Mode,
  type NodeStageVolumeRequest,
  VolumeCapability,
} from '../../src/rpc/generated/csi.ts';
import { writeFiles } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { type Answer, startNode, type TestNode } from './node.ts';
import { expectRefused } from './refusal.ts';
import { type Volume, volumeOn } from './volume.ts';

const mount = { $case: 'mount', value: {} } as const;
const accessMode = { mode: Mode.SINGLE_NODE_WRITER };
const WITHOUT_MODE = VolumeCapability.create({ accessType: mount });
const WITHOUT_TYPE = VolumeCapability.create({ accessMode });
const FUTURE_MODE = VolumeCapability.create({ accessType: mount, accessMode: { mode: 99 as Mode } });
const BLOCK = VolumeCapability.create({ accessType: { $case: 'block', value: {} }, accessMode });
const OF_GROUP = VolumeCapability.create({
  accessType: { $case: 'mount', value: { volumeMountGroup: 'staff' } },
  accessMode,
});

interface Missing {
  readonly field: string;
  readonly call: (volume: Volume) => Promise<Answer>;
  readonly code?: Answer['code'];
}

const MISSING: Readonly<Record<string, readonly Missing[]>> = {
  NodeStageVolume: [
    { field: 'volume_id', call: (volume) => volume.stage({ volumeId: '' }) },
    { field: 'staging_target_path', call: (volume) => volume.stage({ stagingTargetPath: '' }) },
    { field: 'volume_capability', call: (volume) => volume.stage({ volumeCapability: undefined }) },
    { field: 'access_type', call: (volume) => volume.stage({ volumeCapability: WITHOUT_TYPE }) },
    { field: 'access_mode', call: (volume) => volume.stage({ volumeCapability: WITHOUT_MODE }) },
  ],
  NodePublishVolume: [
    { field: 'volume_id', call: (volume) => volume.publish({ volumeId: '' }) },
    { field: 'target_path', call: (volume) => volume.publish({ targetPath: '' }) },
    { field: 'volume_capability', call: (volume) => volume.publish({ volumeCapability: undefined }) },
    { field: 'access_type', call: (volume) => volume.publish({ volumeCapability: WITHOUT_TYPE }) },
    { field: 'access_mode', call: (volume) => volume.publish({ volumeCapability: WITHOUT_MODE }) },
    {
      // The one that the specification singles out, for who advertises STAGE_UNSTAGE_VOLUME.
      field: 'staging_target_path',
      call: (volume) => volume.publish({ stagingTargetPath: '' }),
      code: 'FAILED_PRECONDITION',
    },
  ],
  NodeUnpublishVolume: [
    { field: 'volume_id', call: (volume) => volume.unpublish({ volumeId: '' }) },
    { field: 'target_path', call: (volume) => volume.unpublish({ targetPath: '' }) },
  ],
  NodeUnstageVolume: [
    { field: 'volume_id', call: (volume) => volume.unstage({ volumeId: '' }) },
    { field: 'staging_target_path', call: (volume) => volume.unstage({ stagingTargetPath: '' }) },
  ],
  NodeGetVolumeStats: [
    { field: 'volume_id', call: (volume) => volume.stats(volume.stagingPath, { volumeId: '' }) },
    { field: 'volume_path', call: (volume) => volume.stats('') },
  ],
};

/** For NodeStageVolume and NodePublishVolume alike. */
const UNSUPPORTED: readonly {
  readonly what: string;
  readonly changes: Partial<
    Pick<NodeStageVolumeRequest, 'volumeId' | 'volumeCapability' | 'stagingTargetPath'>
  >;
  readonly message: RegExp;
}[] = [
  { what: 'block access to a directory', changes: { volumeCapability: BLOCK }, message: /use type image/ },
  {
    what: 'a group that is none',
    changes: { volumeCapability: OF_GROUP },
    message: /volume_mount_group/,
  },
  { what: 'an unknown access mode', changes: { volumeCapability: FUTURE_MODE }, message: /access_mode 99/ },
  { what: 'a volume_id of 129 bytes', changes: { volumeId: 'v'.repeat(129) }, message: /volume_id.*128/ },
  {
    what: 'a volume_id of 65 letters in 129 bytes',
    changes: { volumeId: `${'é'.repeat(64)}v` },
    message: /volume_id.*128/,
  },
  {
    what: 'a relative staging path',
    changes: { stagingTargetPath: 'some/path' },
    message: /staging_target_path.*absolute/,
  },
  {
    what: 'a staging path with a NUL in it',
    changes: { stagingTargetPath: '/var/lib\0/etc' },
    message: /staging_target_path/,
  },
];

describe('the fields of a request', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
    writeFiles(node.at('data'), { file: 'content' });
  });
  after(() => node?.[Symbol.asyncDispose]());

  const makeVolume = () => volumeOn(node, { context: { source: node.at('data') } });

  for (const [method, rows] of Object.entries(MISSING)) {
    for (const { field, call, code = 'INVALID_ARGUMENT' } of rows) {
      it(`${method} without ${field}: ${code}`, async () => {
        await using volume = makeVolume();
        if (method !== 'NodeStageVolume') await volume.stage();
        const { target } = volume;
        await expectRefused(node, () => call(volume), { code, message: new RegExp(field), target });
      });
    }
  }

  for (const { what, changes, message } of UNSUPPORTED) {
    it(`${what}: INVALID_ARGUMENT`, async () => {
      await using volume = makeVolume();
      const code = 'INVALID_ARGUMENT';
      await expectRefused(node, () => volume.stage(changes), { code, message });
      await volume.stage();
      await expectRefused(node, () => volume.publish(changes), { code, message, target: volume.target });
    });
  }

  for (const path of ['some/path', './mount', '/var/lib\0/etc']) {
    it(`a target path ${JSON.stringify(path)}: INVALID_ARGUMENT`, async () => {
      await using volume = makeVolume();
      await volume.stage();
      const refusal = { code: 'INVALID_ARGUMENT', message: /target_path/ } as const;
      await expectRefused(node, () => volume.publish({ targetPath: path }), refusal);
      await expectRefused(node, () => volume.unpublish({ targetPath: path }), refusal);
    });
  }

  it('a volume_id of 128 bytes is served, whatever is in it', async () => {
    const volumeId = `../..\n\0${'é'.repeat(60)}x`;
    await using volume = makeVolume();
    expect(await volume.stage({ volumeId })).to.include({ code: 'OK' });
    expect(await volume.publish({ volumeId })).to.include({ code: 'OK' });
    expect(await volume.unpublish({ volumeId })).to.include({ code: 'OK' });
    expect(await volume.unstage({ volumeId })).to.include({ code: 'OK' });
    expect(node.records()).to.deep.equal([]);
  });

  it('an unknown volume: nothing to unpublish or unstage, no stats', async () => {
    await using volume = makeVolume();
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    expect(await volume.unstage()).to.include({ code: 'OK' });
    expect(await volume.stats(volume.target)).to.include({ code: 'NOT_FOUND' });
  });
});
