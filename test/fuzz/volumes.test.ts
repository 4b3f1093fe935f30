// Damaged volume contexts, all the way from the request to the steps of the mounts: each is refused by an error that has a
// reason of its own, or planned.
import { expect } from 'chai';
import fc from 'fast-check';
import { readStart } from '../../src/fuse-host/request.ts';
import { MountError } from '../../src/mount/errors.ts';
import { kernelWith } from '../../src/mount/kernel.ts';
import { describeStep, plan } from '../../src/mount/plan.ts';
import { NodeError, toStatus } from '../../src/node/reasons.ts';
import { fingerprint, requireCapability, requirePath, requireVolumeId } from '../../src/node/request.ts';
import { authorize, type Facts } from '../../src/policy/authorize.ts';
import { DEFAULT_POLICY } from '../../src/policy/default.ts';
import { PolicyError } from '../../src/policy/policy.ts';
import { readPolicy } from '../../src/policy/read.ts';
import { VolumeCapability_AccessMode_Mode as Mode, VolumeCapability } from '../../src/rpc/generated/csi.ts';
import { FEATURES, type FeatureName } from '../../src/sys/features.ts';
import { MappingError } from '../../src/userns/mapping.ts';
import { readVolumeContext } from '../../src/volume/context.ts';
import { VolumeError } from '../../src/volume/errors.ts';
import { isNested, layerWanted, planMounts, planPublish } from '../../src/volume/publish.ts';
import { planStage } from '../../src/volume/stage.ts';
import type { Volume } from '../../src/volume/volume.ts';
import { cases } from '../support/cases.ts';
import { CONTEXTS, MAPPINGS, POLICIES, TARGETS } from './corpus.ts';
import { damagedText } from './damage.ts';

const NEWEST = kernelWith(Object.keys(FEATURES) as FeatureName[]);
const OLDEST = kernelWith([], 'classic');
const RULES = POLICIES.map(readPolicy);
const IDS = [{ container: 0, host: 655_360, size: 65_536 }];
const POD_MAPPING = { uid: IDS, gid: IDS };

const KEYS = [...new Set(CONTEXTS.flatMap(Object.keys))];
const VALUES = [...new Set(CONTEXTS.flatMap(Object.values))];
const POD = {
  'csi.storage.k8s.io/pod.uid': '0aa2c1f8-7d2c-4c5e-8d3f-8c6f2b7a1e11',
  'csi.storage.k8s.io/pod.namespace': 'team-a',
  'csi.storage.k8s.io/pod.name': 'web-0',
  'csi.storage.k8s.io/serviceAccount.name': 'web',
};
const MODES = Object.values(Mode).filter((mode) => mode !== Mode.UNKNOWN);
const INLINE = { ...POD, 'csi.storage.k8s.io/ephemeral': 'true' };

/** As protobuf's decoder makes maps: a key that is called `__proto__` is one like any other. */
const contextOf = (entries: Iterable<readonly [string, string]>): Record<string, string> =>
  Object.fromEntries(entries);

/** Mostly as it should be, so that not all of a request is damaged. */
const seldom = <T>(usual: fc.Arbitrary<T>, damaged: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 12, arbitrary: usual }, damaged);

/** A valid context: entries more, other or damaged. */
const damagedContext = (contexts: readonly Readonly<Record<string, string>>[]) =>
  fc
    .record({
      base: fc.constantFrom(...contexts),
      who: fc.constantFrom({}, POD, INLINE),
      more: seldom(
        fc.constant({}),
        fc.dictionary(seldom(fc.constantFrom(...KEYS), damagedText(KEYS)), damagedText(VALUES), {
          maxKeys: 2,
        }),
      ),
      damaged: fc.array(fc.tuple(fc.nat(20), damagedText(VALUES)), { maxLength: 1 }),
    })
    .map(({ base, who, more, damaged }) => {
      const entries = Object.entries({ ...base, ...who, ...more });
      for (const [at, text] of damaged) {
        const entry = entries[at % entries.length];
        if (entry !== undefined) entry[1] = text;
      }
      return contextOf(entries);
    });

const damagedCapability = fc.record({
  mountFlags: seldom(
    fc.constantFrom<string[]>([], ['ro'], ['noatime']),
    fc.array(damagedText(['ro', 'noatime', 'size=1m', 'lowerdir=/a:/b', 'vers=4.2']), { maxLength: 3 }),
  ),
  fsType: seldom(fc.constantFrom('', 'ext4'), damagedText(['ext4', 'auto'])),
  volumeMountGroup: seldom(fc.constantFrom('', '1000'), damagedText(['1000'])),
  mode: seldom(fc.constantFrom(...MODES), fc.constantFrom(Mode.UNKNOWN, 99 as Mode)),
  block: seldom(fc.constant(false), fc.constant(true)),
});

const isForeseen = (error: unknown): boolean =>
  [VolumeError, PolicyError, MountError, MappingError, NodeError].some((known) => error instanceof known);

describe('damaged requests', () => {
  it('are refused, with a reason, or planned', () => {
    let planned = 0;
    const request = fc.record({
      id: seldom(fc.constant('volume'), damagedText(['volume'])),
      path: seldom(fc.constantFrom(...TARGETS), damagedText(TARGETS)),
      context: damagedContext(CONTEXTS),
      capability: damagedCapability,
      readonly: fc.boolean(),
      kernel: seldom(fc.constant(NEWEST), fc.constant(OLDEST)),
      rules: seldom(fc.constant(DEFAULT_POLICY), fc.constantFrom(...RULES)),
    });
    fc.assert(
      fc.property(request, ({ id, path, context, capability: wanted, readonly, kernel, rules }) => {
        try {
          requireVolumeId(id);
          const stagingPath = requirePath(path, 'staging_target_path');
          const { mode, block, ...mount } = wanted;
          const accessType = block
            ? { $case: 'block' as const, value: {} }
            : { $case: 'mount' as const, value: mount };
          const message = VolumeCapability.create({ accessType, accessMode: { mode } });
          const capability = requireCapability(message);
          const { group } = capability;
          fingerprint({ volumeContext: context, capability, readonly, stagingPath });
          const volume = readVolumeContext(context, capability);
          const facts = { volumesOfNamespace: 0, forbidden: ['/var/lib/kubelet'], readOnly: readonly };
          const terms = authorize(rules, volume, facts);
          const staged = planStage(volume, { terms, group, readOnly: readonly });
          const publication = {
            ...{ terms, stagingPath: volume.inline ? undefined : stagingPath, readonly, group },
            ...{
              readOnlyMode: false,
              mayMap: true,
              cover: isNested(volume) ? ('nested' as const) : undefined,
            },
          };
          const layer = layerWanted(volume, publication) && { upperdir: '/l/upper', workdir: '/l/work' };
          const published = planPublish(volume, publication, layer);
          const own =
            published.is === 'device'
              ? []
              : planMounts(volume, publication, { layer, podMapping: POD_MAPPING });
          for (const one of [...staged.mounts, ...own]) plan(one, kernel, { held: true }).map(describeStep);
          planned++;
        } catch (error) {
          if (!isForeseen(error)) throw error;
          expect(toStatus(error).code).to.not.be.oneOf(['UNKNOWN', 'INTERNAL']);
        }
      }),
      { numRuns: cases(1_000) },
    );
    // Else it tried refusals alone.
    expect(planned).to.be.above(0);
  });
});

describe('damaged starts of helpers', () => {
  const OF_HELPERS = CONTEXTS.filter((context) => /fuse/.test(JSON.stringify(context)));
  const rules = readPolicy(`version: 1
rules:
  - class: persistent
    types: [bind, tmpfs, fuse.bindfs, fuse.sshfs, fuse3.bindfs]
    roots: [{ path: /srv, access: read-write }]
    idmap: { kinds: [explicit, owner, pod] }
    helpers: { bindfs: { user: '1000:1000' }, sshfs: { sources: ['.*'], options: { reconnect: true } } }
`);
  const reading = {
    kubeletDir: '/var/lib/kubelet',
    forbidden: ['/var/lib/kubelet'],
    authorize: (volume: Volume, facts: Facts) => authorize(rules, volume, facts),
  };
  const plain = { type: 'fuse.bindfs', source: '/srv/a' };
  const part = { mounts: '[{"type":"tmpfs"},{"type":"fuse.bindfs","target":"x","source":"/srv/a"}]' };

  it('are refused, with a reason, or read', () => {
    let read = 0;
    const start = fc.record({
      protocol: fc.constant(1),
      volumeId: fc.constant('volume'),
      target: seldom(fc.constantFrom(...TARGETS), damagedText(TARGETS)),
      volumeContext: damagedContext([...OF_HELPERS, plain, part]),
      mountFlags: seldom(
        fc.constantFrom<string[]>([], ['ro']),
        fc.array(damagedText(['ro', 'fd=3']), { maxLength: 3 }),
      ),
      fsType: seldom(fc.constant(''), damagedText(['ext4'])),
      readOnly: fc.boolean(),
      podUidmap: seldom(fc.constantFrom('', ...MAPPINGS), damagedText(MAPPINGS)),
      podGidmap: seldom(fc.constantFrom('', ...MAPPINGS), damagedText(MAPPINGS)),
      part: fc.oneof(fc.constantFrom(0, 1), fc.nat(2 ** 32 - 1)),
      createTarget: fc.boolean(),
    });
    fc.assert(
      fc.property(start, (asked) => {
        try {
          const { place, request } = readStart(asked, reading);
          expect(place.beneath).to.equal(reading.kubeletDir);
          expect(request.mounts).to.have.length(1);
          read++;
        } catch (error) {
          if (!isForeseen(error)) throw error;
        }
      }),
      { numRuns: cases(500) },
    );
    expect(read).to.be.above(0);
  });
});
