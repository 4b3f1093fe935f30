// What the driver adds to the making of a container that has no volume of its, which is nearly every one: the runtime asks
// it all the same, and stands still until it has the answer. Measured by containerd's own code (test/peer/nri-host).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileNameOf, formatRecord, newRecord } from '../src/journal/record.ts';
import { sharedMount } from '../test/support/fixtures.ts';
import { buildNriHost, type NriHost, startNriHost } from '../test/support/nri-host.ts';
import type { Result } from './finding.ts';
import { measure } from './measure.ts';
import { runAlone, type Session } from './session.ts';
import { pairDifferences } from './statistics.ts';

/** On a node that is full of other pods with volumes of the driver. */
const VOLUMES = 110;
/** As a pod has them: service account, hosts, volumes, /proc and the like. */
const MOUNTS = 20;
const ROUNDS = 500;

export async function nri({ programs, directory, rounds }: Session): Promise<Result[]> {
  await using held = new AsyncDisposableStack();
  const root = directory('nri');
  const [stateDir, kubeletDir] = [path.join(root, 'state'), path.join(root, 'kubelet')];
  mkdirSync(kubeletDir);
  held.use(sharedMount(kubeletDir));
  writeRecords(stateDir, kubeletDir);

  const program = await buildNriHost();
  const alone = held.use(await startNriHost(program, path.join(root, 'alone.sock')));
  const asked = held.use(await startNriHost(program, path.join(root, 'nri.sock')));
  const driver = spawn(process.execPath, [
    ...[programs.main, 'serve', '--endpoint', `unix://${path.join(root, 'csi.sock')}`],
    ...['--state-dir', stateDir, '--kubelet-dir', kubeletDir, '--registration', 'off'],
    ...['--nri-socket', asked.socket, '--log-level', 'error'],
  ]);
  held.defer(async () => {
    driver.kill();
    await once(driver, 'close');
  });
  await asked.untilPlugins(1);

  const pod = {
    id: 'sandbox',
    name: 'web',
    uid: 'ffffffff-0000-0000-0000-000000000000',
    namespace: 'default',
  };
  const mounts = Array.from({ length: MOUNTS }, (_, i) => ({
    ...{ destination: `/mounts/${i}`, type: 'bind', options: ['rbind', 'rprivate', 'rw'] },
    source: path.join(kubeletDir, 'pods', pod.uid, 'volumes/kubernetes.io~projected', `volume-${i}`),
  }));
  let count = 0;
  const create = (host: NriHost) => async () => {
    const container = { id: `container-${++count}`, pod_sandbox_id: pod.id, name: 'main' };
    return (await host.createContainer(pod, container, { mounts, linux: {} })).ms;
  };
  const [driven, without] = await measure(
    [
      { name: 'with the driver', round: create(asked) },
      { name: 'without a plugin', round: create(alone) },
    ],
    { rounds: rounds(ROUNDS), warmUp: 20 },
  );
  if (!driven || !without) throw new Error('nothing was measured');
  const added = pairDifferences(driven.values, without.values);
  const note = `a container of ${MOUNTS} mounts, ${VOLUMES} volumes of other pods on the node`;
  return [{ goal: 'nri', ours: { name: 'ours: the runtime waits', values: added }, note }];
}

function writeRecords(stateDir: string, kubeletDir: string): void {
  const directory = path.join(stateDir, 'records');
  mkdirSync(directory, { recursive: true });
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  for (let i = 0; i < VOLUMES; i++) {
    const uid = `${String(i).padStart(8, '0')}-0000-0000-0000-000000000000`;
    const target = path.join(kubeletDir, 'pods', uid, 'volumes/kubernetes.io~csi/data/mount');
    const key = { kind: 'publish', volumeId: `volume-${i}`, path: target } as const;
    // Its pod's directory is there, or the driver would clear it away.
    mkdirSync(path.dirname(target), { recursive: true });
    const record = newRecord(
      {
        ...key,
        ...{ state: 'done', fingerprint: '', accessMode: '', cover: 'placeholder' },
        mount: { type: 'overlay', device: '0:1', root: '/' },
        pod: { namespace: 'default', name: `pod-${i}`, uid, serviceAccount: 'default' },
      },
      bootId,
    );
    writeFileSync(path.join(directory, fileNameOf(key)), formatRecord(record));
  }
}

if (import.meta.main) await runAlone(nri);
