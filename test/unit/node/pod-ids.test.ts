// Who maps the ids of a volume for a pod, and when: for every kind of volume, pod and node.
import { mkdirSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import type { UserNamespace } from '../../../src/kubernetes/pods.ts';
import type { NodeDependencies } from '../../../src/node/dependencies.ts';
import { mappedFor } from '../../../src/node/pod-ids.ts';
import { NodeError } from '../../../src/node/reasons.ts';
import type { UserNamespaceWay } from '../../../src/node/user-namespaces.ts';
import { temporaryDirectory } from '../../support/fixtures.ts';
import { type Name, volumeOf } from '../volume/volumes.ts';

const UID = '0a0b0c0d-1111-2222-3333-444455556666';
const INFO = {
  'csi.storage.k8s.io/pod.uid': UID,
  'csi.storage.k8s.io/pod.name': 'web',
  'csi.storage.k8s.io/pod.namespace': 'shop',
};
const ANSWERS = {
  host: { is: 'host' },
  own: { is: 'own' },
  unknown: { is: 'unknown', because: 'no access' },
} as const satisfies Record<string, UserNamespace>;
const WAYS = {
  nri: { is: 'nri' },
  nested: { is: 'nested' },
  unavailable: { is: 'unavailable', because: 'no socket' },
} as const satisfies Record<string, UserNamespaceWay>;
type Way = keyof typeof WAYS;
type Answer = keyof typeof ANSWERS;

interface Asked {
  readonly name: Name;
  readonly group?: number;
  readonly way: Way;
  readonly answer: Answer;
  readonly named?: boolean;
  readonly more?: Readonly<Record<string, string>>;
}

/** `map`, `runtime` (no map of ours), a cover, or the reason of the refusal; `?` after it where the pod was asked about. */
async function outcomeOf({ name, group, way, answer, named = true, more = {} }: Asked): Promise<string> {
  using kubelet = temporaryDirectory();
  let asked = false;
  const events: string[] = [];
  const deps = {
    kubeletDir: kubelet.path,
    pods: {
      userNamespace: async () => {
        asked = true;
        return ANSWERS[answer];
      },
    },
    events: { emit: (_: unknown, { reason }: { reason: string }) => events.push(reason) },
    userNamespaces: () => WAYS[way],
  } as unknown as NodeDependencies;
  const volume = volumeOf(name, { ...(named ? INFO : {}), ...more });
  const told = await mappedFor(volume, group, deps).then(
    ({ mayMap, cover }) => cover ?? (mayMap ? 'map' : 'runtime'),
    (error: unknown) => (error instanceof NodeError ? error.reason : String(error)),
  );
  return [told, ...events].join(' ') + (asked ? '?' : '');
}

describe('who maps the ids of a volume', () => {
  const answers: readonly Answer[] = ['host', 'own', 'unknown'];
  const rows: readonly (readonly [Name, number | undefined, Way, readonly string[]])[] = [
    ['bind', undefined, 'nri', ['map', 'map', 'map']],
    ['bind', undefined, 'nested', ['map', 'map', 'map']],
    ['image', 7, 'nri', ['map?', 'placeholder?', 'placeholder?']],
    ['image', 7, 'nested', ['map?', 'runtime?', 'runtime FsGroupNotApplied?']],
    ['image', 7, 'unavailable', ['map?', 'nri-unavailable?', 'nri-unavailable?']],
    ['bind with an owner', undefined, 'nri', ['map?', 'placeholder?', 'placeholder?']],
    ['bind with an owner', undefined, 'nested', ['map?', 'pod-user-namespace?', 'pod-user-namespace?']],
    ['bind with an owner', 7, 'unavailable', ['map?', 'nri-unavailable?', 'nri-unavailable?']],
    ['bind, mapped', undefined, 'nri', ['map?', 'placeholder?', 'placeholder?']],
    ['read-only overlay', undefined, 'nri', ['map?', 'placeholder?', 'map?']],
    ['read-only overlay', undefined, 'nested', ['map', 'map', 'map']],
    ['read-only overlay', 7, 'nri', ['map?', 'placeholder?', 'placeholder?']],
    ['ephemeral overlay', undefined, 'nri', ['map?', 'placeholder?', 'map?']],
    ['fuse', undefined, 'nri', ['map?', 'placeholder?', 'map?']],
    ['persistent overlay', undefined, 'nri', ['map?', 'pod-user-namespace?', 'map?']],
    ['persistent overlay', 7, 'nri', ['map?', 'pod-user-namespace?', 'runtime FsGroupNotApplied?']],
    ['persistent overlay', 7, 'nested', ['map?', 'runtime?', 'runtime FsGroupNotApplied?']],
    ['overlay, idmap: pod', undefined, 'nri', ['map?', 'placeholder?', 'placeholder?']],
    ['overlay, idmap: pod', 7, 'nested', ['nested', 'nested', 'nested']],
    ['overlay, idmap: pod', undefined, 'unavailable', ['map?', 'nri-unavailable?', 'nri-unavailable?']],
    ['persistent overlay, idmap: pod', undefined, 'nri', ['map?', 'placeholder?', 'placeholder?']],
    // Its nestedDir is given.
    ['fuse, idmap: pod', undefined, 'nri', ['nested', 'nested', 'nested']],
    ['bind, idmap: pod', undefined, 'nri', ['map', 'map', 'map']],
    ['mounts', 7, 'nri', ['map?', 'runtime?', 'runtime FsGroupNotApplied?']],
  ];
  for (const [name, group, way, outcomes] of rows) {
    for (const [i, answer] of answers.entries()) {
      it(`${name}${group === undefined ? '' : ', fsGroup'}, ${way}, pod: ${answer}: ${outcomes[i]}`, async () => {
        const asked: Asked = { name, way, answer, ...(group !== undefined && { group }) };
        expect(await outcomeOf(asked)).to.equal(outcomes[i]);
      });
    }
  }

  it('a volume that names no pod is mapped as for one on the host', async () => {
    for (const name of ['bind with an owner', 'read-only overlay', 'overlay, idmap: pod'] as const) {
      expect(await outcomeOf({ name, way: 'nri', answer: 'own', named: false }), name).to.equal('map');
    }
  });

  it('a record of kubelet tells without the API server', async () => {
    using kubelet = temporaryDirectory();
    mkdirSync(kubelet.at('pods', UID), { recursive: true });
    const ids = [{ hostId: 131_072, containerId: 0, length: 65_536 }];
    writeFileSync(kubelet.at('pods', UID, 'userns'), JSON.stringify({ uidMappings: ids, gidMappings: ids }));
    const deps = {
      kubeletDir: kubelet.path,
      pods: { userNamespace: () => Promise.reject(new Error('asked')) },
      userNamespaces: () => WAYS.nri,
    } as unknown as NodeDependencies;
    expect(await mappedFor(volumeOf('bind with an owner', INFO), undefined, deps)).to.deep.equal({
      ...{ mayMap: true, cover: 'placeholder' },
    });
  });
});
