// A pod as kubelet has one on a node: its directory, the paths of its volumes, and the record of its user namespace.
import { randomUUID } from 'node:crypto';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestNode } from './node.ts';
import type { Context } from './volume.ts';

export interface Pod extends Disposable {
  readonly uid: string;
  readonly name: string;
  /** What kubelet adds to the context of its volumes (podInfoOnMount). */
  readonly info: Context;
  /** Where it has a volume; the parent is made. */
  targetOf(volume: string): string;
  /** As kubelet writes it just before it makes the sandbox: by rename. */
  record(mapping?: string): void;
  /** As kubelet does when all volumes are gone. */
  end(): void;
}

/** Kubelet gives multiples of the size. */
export const POD_MAPPING = '0:131072:65536';

export function podOn(node: TestNode, name = 'pod'): Pod {
  const uid = randomUUID();
  const directory = join(node.kubeletDir, 'pods', uid);
  mkdirSync(directory, { recursive: true });
  const end = () => rmSync(directory, { recursive: true, force: true });
  return {
    uid,
    name,
    info: {
      'csi.storage.k8s.io/pod.name': name,
      'csi.storage.k8s.io/pod.namespace': 'default',
      'csi.storage.k8s.io/pod.uid': uid,
      'csi.storage.k8s.io/serviceAccount.name': 'default',
    },
    targetOf(volume) {
      const target = join(directory, 'volumes/kubernetes.io~csi', volume, 'mount');
      mkdirSync(dirname(target), { recursive: true });
      return target;
    },
    record(mapping = POD_MAPPING) {
      const [containerId, hostId, length] = mapping.split(':').map(Number);
      const mappings = [{ hostId, containerId, length }];
      const temporary = join(directory, 'userns.tmp');
      writeFileSync(temporary, JSON.stringify({ uidMappings: mappings, gidMappings: mappings }));
      renameSync(temporary, join(directory, 'userns'));
    },
    end,
    [Symbol.dispose]: end,
  };
}
