// Metrics and health of the plugin as a process: what its calls leave in them.
import { mkdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { connect } from '../../src/rpc/client.ts';
import { IdentityService } from '../../src/rpc/generated/csi.ts';
import { eventually, mountPlace } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { kindNamed, volumeOfKind } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';
import { flagsOf, serve, startPluginBelow } from './serve.ts';

/** Any free port. */
const ANY = '127.0.0.1:0';

describe('metrics and health of the plugin', () => {
  let node: TestNode;
  let url: string;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    const wrapper = ['env', `CSI_IDMAP_METRICS_ADDRESS=${ANY}`];
    node = await startNode({ start: (directory) => startPluginBelow(wrapper, directory) });
    const line = () => node.plugin.log.find(({ text }) => text.includes('serving metrics'));
    await eventually('it says where', () => line() !== undefined);
    url = `http://${JSON.parse(line()?.text ?? '{}').address}`;
  });
  after(() => node?.[Symbol.asyncDispose]());

  const get = async (path: string) => {
    const response = await fetch(`${url}${path}`, { headers: { connection: 'close' } });
    return { status: response.status, body: await response.text() };
  };
  const sampleOf = async (series: string) => {
    const { body } = await get('/metrics');
    const line = body.split('\n').find((line) => line.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.slice(series.length));
  };

  it('is alive, and ready as Probe says', async () => {
    expect(await get('/healthz')).to.deep.equal({ status: 200, body: 'ok\n' });
    using client = connect(IdentityService, node.socket);
    expect((await client.probe({})).ready).to.equal(true);
    expect(await get('/readyz')).to.deep.equal({ status: 200, body: 'ready\n' });
  });

  it('counts each call by its method and its code', async () => {
    const calls = (method: string, code: string) =>
      sampleOf(
        `csi_idmap_operations_seconds_count{method="/csi.v1.Node/${method}",grpc_status_code="${code}"}`,
      );
    const before = (await calls('NodeGetInfo', 'OK')) ?? 0;
    await node.ask((rpc) => rpc.nodeGetInfo({}));
    await node.ask((rpc) => rpc.nodeGetInfo({}));
    expect(await calls('NodeGetInfo', 'OK')).to.equal(before + 2);
    await node.ask((rpc) => rpc.nodeUnpublishVolume({ volumeId: '', targetPath: '' }));
    expect(await calls('NodeUnpublishVolume', 'INVALID_ARGUMENT')).to.equal(1);
    expect(await calls('NodeUnpublishVolume', 'OK')).to.equal(undefined);
  });

  it('shows what is mounted, by its records', async () => {
    const mounted = (kind: string) => sampleOf(`csi_idmap_mounts{kind="${kind}",state="done"}`);
    await using volume = volumeOfKind(node, kindNamed('overlay with upperdir, idmapped'));
    expect([await mounted('stage'), await mounted('publish')]).to.deep.equal([0, 0]);
    expect(await volume.stage()).to.include({ code: 'OK' });
    expect(await volume.publish()).to.include({ code: 'OK' });
    expect([await mounted('stage'), await mounted('publish')]).to.deep.equal([1, 1]);
    await volume.unpublish();
    expect([await mounted('stage'), await mounted('publish')]).to.deep.equal([1, 0]);
  });

  it('shows loop devices by whose they are, and the user namespaces that are kept', async () => {
    const loops = (owner: string) => sampleOf(`csi_idmap_loop_devices{owner="${owner}"}`);
    const [own, namespaces] = [await loops('driver'), await sampleOf('csi_idmap_userns_fds')];
    await using volume = volumeOfKind(node, kindNamed('image of ext4, idmapped'));
    expect(await volume.stage()).to.include({ code: 'OK' });
    expect(await volume.publish()).to.include({ code: 'OK' });
    expect(await loops('driver')).to.equal((own ?? 0) + 1);
    expect(await loops('other')).to.be.a('number');
    expect(await sampleOf('csi_idmap_userns_fds')).to.be.greaterThanOrEqual(Math.max(namespaces ?? 0, 1));
    await volume.unpublish();
    await volume.unstage();
    while ((await loops('driver')) !== own) await delay(20); // Whoever looks at the device keeps it for that long.
  });

  it('is alive but not ready where it cannot serve, here for want of a shared kubelet directory', async () => {
    using place = mountPlace();
    mkdirSync(place.at('kubelet'));
    const { child, said, ended } = serve([...flagsOf(place.path), '--metrics-address', ANY]);
    try {
      await eventually('it serves them', () => said.some((line) => line.includes('serving metrics')));
      const address = JSON.parse(said.find((line) => line.includes('serving metrics')) ?? '{}').address;
      const status = async (path: string) =>
        (await fetch(`http://${address}${path}`, { headers: { connection: 'close' } })).status;
      for (const when of ['at first', 'not ready']) {
        await eventually(when, () => when === 'at first' || said.some((line) => line.includes(when)));
        expect([await status('/healthz'), await status('/readyz')], when).to.deep.equal([200, 503]);
      }
    } finally {
      child.kill('SIGTERM');
      await ended;
    }
  });

  it('an address that is taken keeps a second one from starting, and is named', async () => {
    const address = url.slice('http://'.length);
    const { said, ended } = serve([...flagsOf(node.at('second')), '--metrics-address', address]);
    expect(await ended).to.equal(1);
    expect(said.at(-1)).to.match(
      new RegExp(
        `^csi-driver-idmap: cannot serve metrics on ${address} \\(--metrics-address\\): .*EADDRINUSE`,
      ),
    );
  });
});

describe('the plugin without --metrics-address', () => {
  it('serves none', async function () {
    needRoot(this, 'the plugin mounts');
    await using node = await startNode();
    expect(node.plugin.log.map(({ text }) => text).join('\n')).not.to.contain('serving metrics');
  });
});
