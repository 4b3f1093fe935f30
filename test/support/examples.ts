// The manifests of examples/ as Kubernetes reads them: which pod has which volume, how.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseAllDocuments } from 'yaml';

export type Attributes = Readonly<Record<string, string>>;

interface CsiSource {
  readonly driver: string;
  readonly fsType?: string;
  readonly volumeAttributes: Attributes;
}

interface PodVolume {
  readonly name: string;
  readonly csi?: CsiSource;
  readonly persistentVolumeClaim?: { readonly claimName: string; readonly readOnly?: boolean };
}

interface Specs {
  readonly PersistentVolume: {
    readonly accessModes: readonly AccessMode[];
    readonly volumeMode?: string;
    readonly mountOptions?: readonly string[];
    readonly csi: CsiSource & { readonly volumeHandle: string };
  };
  readonly PersistentVolumeClaim: {
    readonly volumeName: string;
    readonly accessModes: readonly AccessMode[];
    readonly volumeMode?: string;
  };
  readonly Pod: {
    readonly hostUsers?: boolean;
    readonly securityContext?: {
      readonly fsGroup?: number;
      readonly runAsUser?: number;
      readonly runAsGroup?: number;
    };
    readonly containers: readonly {
      readonly volumeMounts?: readonly { readonly name: string; readonly mountPropagation?: string }[];
      readonly volumeDevices?: readonly { readonly name: string }[];
    }[];
    readonly volumes: readonly PodVolume[];
  };
}

type AccessMode = 'ReadWriteOnce' | 'ReadOnlyMany' | 'ReadWriteMany' | 'ReadWriteOncePod';

interface Manifest<K extends keyof Specs> {
  readonly kind: K;
  readonly metadata: { readonly name: string };
  readonly spec: Specs[K];
}

/** One volume as kubelet asks for it, for one pod. */
export interface Example {
  /** Of the pod. */
  readonly name: string;
  readonly attributes: Attributes;
  /** Written into the pod. */
  readonly inline: boolean;
  readonly accessMode: AccessMode;
  readonly mountOptions: readonly string[];
  readonly fsType: string;
  readonly block: boolean;
  readonly readonly: boolean;
  readonly pod: Specs['Pod'];
  /** As the pod calls it. */
  readonly volume: string;
}

export const EXAMPLES_DIR = join(import.meta.dirname, '../../examples');
export const EXAMPLE_FILES = readdirSync(EXAMPLES_DIR).filter((name) => name.endsWith('.yaml'));
const DRIVER = 'idmap.csi.dev';

function manifestsOf(file: string) {
  const documents = parseAllDocuments(readFileSync(join(EXAMPLES_DIR, file), 'utf8'), { strict: true });
  for (const { errors, warnings } of documents) expect([...errors, ...warnings]).to.deep.equal([]);
  const all: Manifest<keyof Specs>[] = documents.map((document) => document.toJS());
  const of = <K extends keyof Specs>(kind: K) => all.filter((one): one is Manifest<K> => one.kind === kind);
  const [volumes, claims, pods] = [of('PersistentVolume'), of('PersistentVolumeClaim'), of('Pod')];
  expect(volumes.length + claims.length + pods.length).to.equal(all.length);
  return { volumes, claims, pods };
}

/** The one volume of an example. */
export function exampleOf(file: string): Example {
  const { volumes, claims, pods } = manifestsOf(file);
  const named = <M extends { metadata: { name: string } }>(list: readonly M[], name: string): M => {
    const found = list.find(({ metadata }) => metadata.name === name);
    if (found === undefined) throw new Error(`${file}: nothing is called ${name}`);
    return found;
  };
  const all = pods.flatMap(({ metadata, spec: pod }) =>
    pod.volumes.map(({ name: volume, csi, persistentVolumeClaim: claimed }): Example => {
      const common = { name: metadata.name, pod, volume };
      if (csi !== undefined) {
        expect(csi.driver).to.equal(DRIVER);
        return {
          ...{ ...common, attributes: csi.volumeAttributes, inline: true, accessMode: 'ReadWriteOnce' },
          ...{ mountOptions: [], fsType: csi.fsType ?? '', block: false, readonly: false },
        };
      }
      const claim = named(claims, claimed?.claimName ?? '').spec;
      const spec = named(volumes, claim.volumeName).spec;
      const { accessModes, volumeMode, mountOptions = [], csi: source } = spec;
      expect(source.driver).to.equal(DRIVER);
      expect({ accessModes, volumeMode }).to.deep.equal({
        accessModes: claim.accessModes,
        volumeMode: claim.volumeMode,
      });
      const [accessMode, ...more] = accessModes;
      if (accessMode === undefined || more.length > 0) throw new Error(`${file}: not one access mode`);
      return {
        ...{ ...common, attributes: source.volumeAttributes, inline: false, accessMode, mountOptions },
        ...{
          fsType: source.fsType ?? '',
          block: volumeMode === 'Block',
          readonly: claimed?.readOnly ?? false,
        },
      };
    }),
  );
  const [one, ...more] = all;
  if (one === undefined || more.length > 0) throw new Error(`${file}: not one volume`);
  return one;
}
