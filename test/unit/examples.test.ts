// Every manifest of examples/: the driver reads its volumes, the schema takes them, and mounts can be planned.
import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';
import { authorize } from '../../src/policy/authorize.ts';
import { DEFAULT_POLICY } from '../../src/policy/default.ts';
import { parseIdMapping } from '../../src/userns/mapping.ts';
import { readVolumeContext, type VolumeContext } from '../../src/volume/context.ts';
import { KEYS, MOUNTS_KEY } from '../../src/volume/keys.ts';
import { isNested, layerWanted, planMounts, planPublish } from '../../src/volume/publish.ts';
import { planStage } from '../../src/volume/stage.ts';
import type { Volume } from '../../src/volume/volume.ts';
import { INLINE, PUBLICATION, planned, TERMS } from './volume/volumes.ts';

const DRIVER = 'idmap.csi.dev';
const at = (path: string) => new URL(`../../${path}`, import.meta.url);
const FILES = readdirSync(at('examples')).filter((name) => name.endsWith('.yaml'));

interface CsiSource {
  readonly driver: string;
  readonly fsType?: string;
  readonly volumeAttributes: VolumeContext;
}

interface PodVolume {
  readonly name: string;
  readonly csi?: CsiSource;
  readonly persistentVolumeClaim?: { readonly claimName: string; readonly readOnly?: boolean };
}

interface Specs {
  readonly PersistentVolume: {
    readonly accessModes: readonly string[];
    readonly volumeMode?: string;
    readonly mountOptions?: readonly string[];
    readonly csi: CsiSource & { readonly volumeHandle: string };
  };
  readonly PersistentVolumeClaim: {
    readonly volumeName: string;
    readonly accessModes: readonly string[];
    readonly volumeMode?: string;
  };
  readonly Pod: {
    readonly hostUsers?: boolean;
    readonly securityContext?: { readonly fsGroup?: number };
    readonly containers: readonly {
      readonly volumeMounts?: readonly { readonly name: string; readonly mountPropagation?: string }[];
      readonly volumeDevices?: readonly { readonly name: string }[];
    }[];
    readonly volumes: readonly PodVolume[];
  };
}

interface Manifest<K extends keyof Specs> {
  readonly kind: K;
  readonly metadata: { readonly name: string };
  readonly spec: Specs[K];
}

/** One volume as kubelet asks for it, for one pod. */
interface Use {
  readonly context: VolumeContext;
  readonly volume: Volume;
  readonly readonly: boolean;
  readonly readOnlyMode: boolean;
  readonly pod: Specs['Pod'];
  readonly name: string;
}

function manifests(file: string) {
  const documents = parseAllDocuments(readFileSync(at(`examples/${file}`), 'utf8'), { strict: true });
  for (const { errors, warnings } of documents) expect([...errors, ...warnings]).to.deep.equal([]);
  const all: Manifest<keyof Specs>[] = documents.map((document) => document.toJS());
  const of = <K extends keyof Specs>(kind: K) => all.filter((one): one is Manifest<K> => one.kind === kind);
  const [volumes, claims, pods] = [of('PersistentVolume'), of('PersistentVolumeClaim'), of('Pod')];
  expect(volumes.length + claims.length + pods.length).to.equal(all.length);
  return { volumes, claims, pods };
}

function usesOf(file: string): Use[] {
  const { volumes, claims, pods } = manifests(file);
  const named = <M extends { metadata: { name: string } }>(list: readonly M[], name: string): M => {
    const found = list.find(({ metadata }) => metadata.name === name);
    if (found === undefined) throw new Error(`nothing is called ${name}`);
    return found;
  };
  return pods.flatMap(({ spec: pod }) =>
    pod.volumes.map(({ name, csi, persistentVolumeClaim: claimed }): Use => {
      if (csi !== undefined) {
        expect(csi.driver).to.equal(DRIVER);
        const volume = readVolumeContext({ ...csi.volumeAttributes, ...INLINE });
        return { context: csi.volumeAttributes, volume, readonly: false, readOnlyMode: false, pod, name };
      }
      const claim = named(claims, claimed?.claimName ?? '').spec;
      const {
        accessModes,
        volumeMode,
        mountOptions = [],
        csi: source,
      } = named(volumes, claim.volumeName).spec;
      expect(source.driver).to.equal(DRIVER);
      expect({ accessModes, volumeMode }).to.deep.equal({
        accessModes: claim.accessModes,
        volumeMode: claim.volumeMode,
      });
      const volume = readVolumeContext(source.volumeAttributes, {
        ...{ mountFlags: mountOptions, fsType: source.fsType ?? '', block: volumeMode === 'Block' },
      });
      const readOnlyMode = accessModes.every((mode) => mode === 'ReadOnlyMany');
      const readonly = claimed?.readOnly ?? false;
      return { context: source.volumeAttributes, volume, readonly, readOnlyMode, pod, name };
    }),
  );
}

const POD = {
  uid: parseIdMapping('0:65536:65536', 'uidmap'),
  gid: parseIdMapping('0:65536:65536', 'gidmap'),
};

const SOME_POD = { name: 'pod', uid: 'uid', namespace: 'default', serviceAccount: 'default' };

/** All that is ever mounted for it. */
function mountsOf({ volume, readonly, readOnlyMode, pod }: Use) {
  const group = pod.securityContext?.fsGroup;
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
  const uses = FILES.map((file) => [file, usesOf(file)] as const);

  for (const [file, [use, ...more]] of uses) {
    it(`${file}: one volume that the driver reads and the schema takes, with a plan`, () => {
      if (use === undefined || more.length > 0) throw new Error('not one volume');
      for (const [key, value] of Object.entries(use.context)) {
        expect(schema.properties, key).to.have.property(key);
        expect(value, `${key} must be text`).to.be.a('string');
        expect(value).to.match(new RegExp(schema.properties[key]?.pattern ?? '', 'u'));
      }
      const isBlock = use.volume.kind === 'image' && use.volume.block;
      const mounts = mountsOf(use);
      expect(mounts.length === 0).to.equal(isBlock);
      for (const mount of mounts) expect(planned(mount)).to.not.be.empty;
      const [container] = use.pod.containers;
      const places = isBlock ? container?.volumeDevices : container?.volumeMounts;
      expect(places?.map(({ name }) => name)).to.deep.equal([use.name]);
    });

    it(`${file}: the built-in policy allows it`, () => {
      if (use === undefined) throw new Error('no volume');
      const { volume, readOnlyMode: readOnly } = use;
      const pod = volume.inline ? SOME_POD : undefined;
      const facts = { volumesOfNamespace: 0, forbidden: ['/var/lib/kubelet'], readOnly };
      expect(() => authorize(DEFAULT_POLICY, { ...volume, pod }, facts)).to.not.throw();
    });

    it(`${file}: begins with what it is for, and is in the list`, () => {
      expect(readFileSync(at(`examples/${file}`), 'utf8')).to.match(/^# [A-Z]/);
      expect(readFileSync(at('examples/README.md'), 'utf8')).to.contain(`[${file}](${file})`);
    });
  }

  it('the list has no others', () => {
    const listed = readFileSync(at('examples/README.md'), 'utf8').matchAll(/\[([\w-]+\.yaml)\]/g);
    expect([...listed].map(([, file]) => file).toSorted()).to.deep.equal(FILES.toSorted());
  });

  it('show every kind of volume and every key', () => {
    const volumes = uses.flatMap(([, list]) => list);
    expect([...new Set(volumes.map(({ volume }) => volume.kind))]).to.have.members([
      ...KEYS.type.kinds,
      'mounts',
    ]);
    const keys = new Set(volumes.flatMap(({ context }) => Object.keys(context)));
    expect([...keys]).to.have.members([...Object.keys(KEYS), MOUNTS_KEY.name]);
  });

  it('a volume for the user namespace of a pod is for a pod that has one, and arrives in its container', () => {
    const nested = uses.flatMap(([, list]) => list).filter(({ volume }) => volume.idmap.is === 'pod');
    expect(nested).to.not.be.empty;
    for (const { pod } of nested) {
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
