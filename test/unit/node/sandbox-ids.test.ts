// The ids of a pod whose sandbox is there: of a process of the host, which this test is, and of none. One with a user
// namespace of its own is seen in test/e2e/nri.test.ts.
import { mkdirSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { idsOfSandbox } from '../../../src/node/sandbox-ids.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';

const UID = '0a0b0c0d-1111-2222-3333-444455556666';
const IDS = [{ hostId: 131_072, containerId: 0, length: 65_536 }];
const MAPPING = { container: 0, host: 131_072, size: 65_536 };

function recorded(
  kubelet: TemporaryDirectory,
  text = JSON.stringify({ uidMappings: IDS, gidMappings: IDS }),
) {
  mkdirSync(kubelet.at('pods', UID), { recursive: true });
  writeFileSync(kubelet.at('pods', UID, 'userns'), text);
}

interface Told {
  readonly pid?: number;
  readonly types?: readonly string[];
  readonly path?: string;
}

function idsOf(kubelet: TemporaryDirectory, { pid = 0, types, path = '' }: Told) {
  const namespaces = types?.map((type) => ({ type, path: type === 'user' ? path : '' }));
  const pod = { id: 's', name: 'web', uid: UID, namespace: 'shop', pid };
  const linux = namespaces && { namespaces };
  return () => idsOfSandbox({ ...pod, linux }, { kubeletDir: kubelet.path });
}

describe('the ids of a sandbox', () => {
  const withUser = ['network', 'user'];

  it('are those that kubelet has recorded', () => {
    using kubelet = temporaryDirectory();
    recorded(kubelet);
    const rows: readonly Told[] = [
      { types: withUser },
      {},
      { types: withUser, path: '/proc/1073741824/ns/user' },
    ];
    for (const told of rows) expect(idsOf(kubelet, told)()?.uid).to.deep.equal([MAPPING]);
  });

  it('are none of a pod on the host', () => {
    using kubelet = temporaryDirectory();
    for (const told of [{ types: ['network'] }, {}, { pid: process.pid }]) {
      expect(idsOf(kubelet, told)()).to.equal(undefined);
    }
  });

  it('are refused where kubelet and the runtime contradict each other', () => {
    using kubelet = temporaryDirectory();
    expect(idsOf(kubelet, { types: withUser })).to.throw(
      /has a user namespace, and kubelet has not recorded/,
    );
    recorded(kubelet);
    expect(idsOf(kubelet, { types: ['network'] })).to.throw(/recorded ids.*the sandbox has none/);
    expect(idsOf(kubelet, { types: withUser, pid: process.pid })).to.throw(
      /recorded ids.*the sandbox has none/,
    );
    expect(idsOf(kubelet, { types: withUser, path: '/proc/self/ns/net' })).to.throw(/is no user namespace/);
  });

  it('are refused where the record makes no sense', () => {
    using kubelet = temporaryDirectory();
    recorded(kubelet, '{}');
    expect(idsOf(kubelet, {})).to.throw(/kubelet's record of the pod's user namespace/);
  });
});
