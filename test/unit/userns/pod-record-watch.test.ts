// Waiting for kubelet's record: told at once, and nothing left behind however it ends.
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { type PodRecordWait, waitForPodRecord } from '../../../src/userns/pod-record-watch.ts';
import { temporaryDirectory } from '../../support/fixtures.ts';
import { MAPPED, UID, writeRecord } from './kubelet.ts';

const LONG = 60_000;

describe('waitForPodRecord', () => {
  function pod(more: Partial<PodRecordWait> = {}) {
    const place = temporaryDirectory();
    const directory = place.at('pods', UID);
    mkdirSync(directory, { recursive: true });
    // Where it is not meant, polling would hide that inotify does not tell.
    const wait = () => waitForPodRecord({ kubeletDir: place.path, podUid: UID, pollMs: LONG, ...more });
    return { directory, wait, [Symbol.dispose]: () => place[Symbol.dispose]() };
  }

  it('finds what is there already', async () => {
    using at = pod();
    writeRecord(at.directory);
    expect(await at.wait()).to.deep.equal(MAPPED);
  });

  it('is told when it is written, and by nothing else that happens there', async () => {
    using at = pod();
    const record = at.wait();
    mkdirSync(`${at.directory}/volumes`);
    writeFileSync(`${at.directory}/etc-hosts`, '');
    await sleep(50);
    writeRecord(at.directory);
    expect(await record).to.deep.equal(MAPPED);
  });

  it('tells of one that is wrong', async () => {
    using at = pod();
    const record = at.wait();
    writeRecord(at.directory, '{}');
    const because = `pods/${UID}/userns: the record has no uidMappings`;
    expect(await record).to.deep.equal({ is: 'invalid', because });
  });

  it('ends when the pod goes', async () => {
    using at = pod();
    const record = at.wait();
    await sleep(10);
    rmSync(at.directory, { recursive: true });
    expect(await record).to.deep.equal({ is: 'gone' });
    expect(await at.wait()).to.deep.equal({ is: 'gone' });
  });

  it('ends when it is told to', async () => {
    const controller = new AbortController();
    using at = pod({ signal: controller.signal });
    const record = at.wait();
    controller.abort();
    expect(await record).to.deep.equal({ is: 'aborted' });
    expect(await at.wait()).to.deep.equal({ is: 'aborted' });
  });

  it('looks every now and then where inotify does not tell', async () => {
    // The watch is on the directory that goes; another one has its name by the time of the next look.
    using at = pod({ pollMs: 200 });
    const record = at.wait();
    rmSync(at.directory, { recursive: true });
    mkdirSync(at.directory);
    writeRecord(at.directory);
    expect(await record).to.deep.equal(MAPPED);
  });

  it('leaves no watch and no timer', async () => {
    const controller = new AbortController();
    using at = pod({ signal: controller.signal });
    await turn(); // From now on mocha's own timer runs.
    const before = held();
    const all = Array.from({ length: 20 }, at.wait);
    expect(held().watches - before.watches).to.equal(1); // The kernel has one for a directory.
    expect(held().timers - before.timers).to.equal(20);
    writeRecord(at.directory);
    for (const record of await Promise.all(all)) expect(record).to.deep.equal(MAPPED);
    // libuv lets go of a watch when it is through with its event.
    for (let turns = 0; turns < 100 && held().watches > before.watches; turns++) await turn();
    expect(held()).to.deep.equal(before);
    controller.abort();
  });
});

/** Of this process: inotify's watches, as /proc shows them, and timers. */
function held(): { watches: number; timers: number } {
  const lines = readdirSync('/proc/self/fd')
    .filter((fd) => linkOf(fd) === 'anon_inode:inotify')
    .flatMap((fd) => readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1').split('\n'));
  return {
    watches: lines.filter((line) => line.startsWith('inotify wd:')).length,
    timers: process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length,
  };
}

function linkOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined; // The listing's own.
  }
}
