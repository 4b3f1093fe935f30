// What other volumes have of FUSE filesystems that do not answer: the plugin publishes and unpublishes a tmpfs while some
// are asked for their stats all the time, and answer or not.
import { mkdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { startFuseHost } from '../test/e2e/fuse-host.ts';
import { startNode } from '../test/e2e/node.ts';
import { startPluginBelow } from '../test/e2e/serve.ts';
import { volumeOn } from '../test/e2e/volume.ts';
import type { Sample } from './finding.ts';
import { measure } from './measure.ts';
import { summarise } from './statistics.ts';

const COUNT = 5;
/** Kubelet asks once a minute. */
const ASK_MS = 1_000;
const ROUNDS = 7;
const TIMES = 30;
/** For all to be known to hang, or to answer again. */
const SETTLE_MS = 2_000;

export async function fuse(): Promise<Sample[]> {
  await using held = new AsyncDisposableStack();
  const node = held.use(
    await startNode({
      start: (directory) => startPluginBelow(['env', 'CSI_IDMAP_FUSE_MODE=host'], directory),
    }),
  );
  const host = held.use(await startFuseHost(node.directory));
  mkdirSync(node.at('data'));

  const expectOk = ({ code, message }: { code: string; message: string }): void => {
    if (code !== 'OK') throw new Error(`${code}: ${message}`);
  };
  const plain = held.use(volumeOn(node, { context: { type: 'tmpfs' } }));
  expectOk(await plain.stage());
  const round = async () => {
    for (let i = 0; i < TIMES; i++) {
      expectOk(await plain.publish());
      expectOk(await plain.unpublish());
    }
  };

  const volumes = Array.from({ length: COUNT }, () =>
    held.use(volumeOn(node, { context: { type: 'fuse.bindfs', source: node.at('data') } })),
  );
  for (const volume of volumes) {
    expectOk(await volume.stage());
    expectOk(await volume.publish());
  }
  const pids = (await host.client.list()).flatMap((helper) => helper.pids);
  const signalAll = async (signal: NodeJS.Signals) => {
    for (const pid of pids) process.kill(pid, signal);
    await sleep(SETTLE_MS);
  };
  let done = false;
  const asking = volumes.map(async (volume) => {
    while (!done) {
      await volume.stats(volume.target);
      await sleep(ASK_MS);
    }
  });
  const times = await measure(
    [
      { name: `while ${COUNT} hang`, round, before: () => signalAll('SIGSTOP') },
      { name: 'while all answer', round, before: () => signalAll('SIGCONT') },
    ],
    { rounds: ROUNDS },
  );
  done = true;
  await Promise.all(asking);
  return times;
}

if (import.meta.main) for (const { name, values } of await fuse()) console.log(name, summarise(values));
