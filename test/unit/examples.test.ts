// Every manifest of examples/: the driver reads its volumes, the schema takes them, and mounts can be planned.
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { authorize } from '../../src/policy/authorize.ts';
import { DEFAULT_POLICY } from '../../src/policy/default.ts';
import { parseIdMapping } from '../../src/userns/mapping.ts';
import { readVolumeContext } from '../../src/volume/context.ts';
import { KEYS, MOUNTS_KEY } from '../../src/volume/keys.ts';
import { isNested, layerWanted, planMounts, planPublish } from '../../src/volume/publish.ts';
import { planStage } from '../../src/volume/stage.ts';
import type { Volume } from '../../src/volume/volume.ts';
import { EXAMPLE_FILES, type Example, exampleOf } from '../support/examples.ts';
import { INLINE, PUBLICATION, planned, TERMS } from './volume/volumes.ts';

const at = (path: string) => new URL(`../../${path}`, import.meta.url);

function volumeOf({ attributes, inline, mountOptions, fsType, block }: Example): Volume {
  const context = inline ? { ...attributes, ...INLINE } : attributes;
  return readVolumeContext(context, { mountFlags: mountOptions, fsType, block });
}

const POD = {
  uid: parseIdMapping('0:65536:65536', 'uidmap'),
  gid: parseIdMapping('0:65536:65536', 'gidmap'),
};

const SOME_POD = { name: 'pod', uid: 'uid', namespace: 'default', serviceAccount: 'default' };
const isReadOnly = ({ accessMode }: Example) => accessMode === 'ReadOnlyMany';

/** All that is ever mounted for it. */
function mountsOf(example: Example) {
  const { readonly, pod } = example;
  const volume = volumeOf(example);
  const group = pod.securityContext?.fsGroup;
  const readOnlyMode = isReadOnly(example);
  const staged = planStage(volume, { terms: TERMS, group, readOnly: readOnlyMode }).mounts;
  const stagingPath = volume.inline ? undefined : '/staging';
  const cover = isNested(volume) ? ('nested' as const) : undefined;
  const publication = { ...PUBLICATION, stagingPath, readonly, readOnlyMode, group, cover };
  const layer = layerWanted(volume, publication) && { upperdir: '/layer/upper', workdir: '/layer/work' };
  const plan = planPublish(volume, publication, layer);
  if (plan.is === 'device') return [];
  if (plan.is === 'mounts') return [...staged, ...plan.mounts];
  const covers = plan.is === 'nested' ? [plan.cover] : [];
  return [...staged, ...covers, ...planMounts(volume, publication, { layer, podMapping: POD })];
}

interface Schema {
  readonly properties: Readonly<Record<string, { readonly type: 'string'; readonly pattern: string }>>;
  readonly patternProperties: object;
  readonly additionalProperties: false;
}

describe('the examples', () => {
  const schema: Schema = JSON.parse(readFileSync(at('docs/volume-context.schema.json'), 'utf8'));
  const examples = EXAMPLE_FILES.map((file) => [file, exampleOf(file)] as const);

  for (const [file, example] of examples) {
    it(`${file}: one volume that the driver reads and the schema takes, with a plan`, () => {
      for (const [key, value] of Object.entries(example.attributes)) {
        expect(schema.properties, key).to.have.property(key);
        expect(value, `${key} must be text`).to.be.a('string');
        expect(value).to.match(new RegExp(schema.properties[key]?.pattern ?? '', 'u'));
      }
      const mounts = mountsOf(example);
      expect(mounts.length === 0).to.equal(example.block);
      for (const mount of mounts) expect(planned(mount)).to.not.be.empty;
      const [container] = example.pod.containers;
      const places = example.block ? container?.volumeDevices : container?.volumeMounts;
      expect(places?.map(({ name }) => name)).to.deep.equal([example.volume]);
    });

    it(`${file}: the built-in policy allows it`, () => {
      const volume = { ...volumeOf(example), pod: example.inline ? SOME_POD : undefined };
      const readOnly = isReadOnly(example);
      const facts = { volumesOfNamespace: 0, forbidden: ['/var/lib/kubelet'], readOnly };
      expect(() => authorize(DEFAULT_POLICY, volume, facts)).to.not.throw();
    });

    it(`${file}: begins with what it is for, and is in the list`, () => {
      expect(readFileSync(at(`examples/${file}`), 'utf8')).to.match(/^# [A-Z]/);
      expect(readFileSync(at('examples/README.md'), 'utf8')).to.contain(`[${file}](${file})`);
    });
  }

  it('the list has no others', () => {
    const listed = readFileSync(at('examples/README.md'), 'utf8').matchAll(/\[([\w-]+\.yaml)\]/g);
    expect([...listed].map(([, file]) => file).toSorted()).to.deep.equal(EXAMPLE_FILES.toSorted());
  });

  it('show every kind of volume and every key', () => {
    expect([...new Set(examples.map(([, example]) => volumeOf(example).kind))]).to.have.members([
      ...KEYS.type.kinds,
      'mounts',
    ]);
    const keys = new Set(examples.flatMap(([, { attributes }]) => Object.keys(attributes)));
    expect([...keys]).to.have.members([...Object.keys(KEYS), MOUNTS_KEY.name]);
  });

  it('a volume for the user namespace of a pod is for a pod that has one, and arrives in its container', () => {
    const nested = examples.filter(([, { attributes }]) => attributes.idmap === 'pod');
    expect(nested).to.not.be.empty;
    for (const [, { pod }] of nested) {
      expect(pod.hostUsers).to.equal(false);
      expect(pod.containers[0]?.volumeMounts?.[0]?.mountPropagation).to.equal('HostToContainer');
    }
  });
});

describe('the schema of volumeAttributes', () => {
  const schema: Schema = JSON.parse(readFileSync(at('docs/volume-context.schema.json'), 'utf8'));

  it('has every key, each as text, and no other but those of Kubernetes', () => {
    expect(Object.keys(schema.properties)).to.have.members([...Object.keys(KEYS), MOUNTS_KEY.name]);
    for (const { type, pattern } of Object.values(schema.properties)) {
      expect(type).to.equal('string');
      expect(() => new RegExp(pattern, 'u')).to.not.throw();
    }
    expect(schema.additionalProperties).to.equal(false);
    const [foreign, ...more] = Object.keys(schema.patternProperties).map((text) => new RegExp(text, 'u'));
    expect(more).to.be.empty;
    for (const key of ['csi.storage.k8s.io/ephemeral', 'storage.kubernetes.io/csiProvisionerIdentity']) {
      expect(key).to.match(foreign ?? /$^/);
    }
    for (const key of ['csi.storage.k8s.io', 'csiXstorage.k8s.io/x', 'sourc']) {
      expect(key).to.not.match(foreign ?? /$^/);
    }
  });
});
