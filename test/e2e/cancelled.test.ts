// Calls that their caller gives up at any moment. When the plugin is done with one, the volume is there with its record, or
// there is nothing of it; and the same call again is served.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { eventually } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { mountsAt } from './kernel.ts';
import { KINDS, type Kind, needKind, type VolumeOfKind, volumeOfKind } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';

/** What is made of more than one step is most interesting here. */
const TITLES = [
  'bind, idmapped',
  'overlay with upperdir, idmapped',
  'overlay, ephemeral, of limited size, idmapped',
  'image that is made',
  'FUSE',
  'several mounts',
];
const TRIES = 8;
const STEP_MS = 6;

describe('a call that is cancelled', () => {
  let node: TestNode;
  let count = 0;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  for (const kind of KINDS.filter(({ title }) => TITLES.includes(title))) {
    it(`${kind.title}: leaves the finished state, or nothing`, async function () {
      needKind(this, kind);
      const outcomes = new Set<string>();
      for (let i = 0; i < TRIES; i++) {
        await using volume = volumeOfKind(node, kind);
        const staged = await cancelled(i * STEP_MS, volume, (signal) => volume.stage({}, { signal }));
        outcomes.add(staged);
        expectWhole(volume, kind, volume.stagingPath, 'stage');
        expect(await volume.stage(), 'again').to.include({ message: '', code: 'OK' });
        outcomes.add(await cancelled(i * STEP_MS, volume, (signal) => volume.publish({}, { signal })));
        expectWhole(volume, kind, volume.target, 'publish');
        expect(await volume.publish(), 'again').to.include({ message: '', code: 'OK' });
      }
      // Else nothing was tried.
      expect(outcomes).to.include('CANCELLED');
    });
  }

  /** Resolves when the plugin itself has ended the call. */
  async function cancelled(
    afterMs: number,
    { id }: VolumeOfKind,
    call: (signal: AbortSignal) => Promise<{ code: string }>,
  ): Promise<string> {
    const controller = new AbortController();
    const answer = call(controller.signal);
    await delay(afterMs);
    controller.abort();
    const { code } = await answer;
    // One that was given up before it was sent never comes; one that was sent is heard of before this one.
    const after = `after-${++count}`;
    await node.ask((rpc) => rpc.nodeUnpublishVolume({ volumeId: after, targetPath: '/none' }));
    await eventually('it is heard of', () => node.callsOf(after).length === 1);
    await eventually('the plugin is done with it', () => node.callsOf(id).length === begunFor(id));
    return code;
  }

  const begunFor = (id: string): number =>
    node.plugin.log.filter(({ text }) => text.includes('"rpc request"') && text.includes(`"${id}"`)).length;

  function expectWhole({ id }: VolumeOfKind, kind: Kind, path: string, what: 'stage' | 'publish'): void {
    const record = node
      .records()
      .map(({ text }) => JSON.parse(text) as { volumeId: string; kind: string; state: string })
      .find((one) => one.volumeId === id && one.kind === what);
    const mounts = mountsAt(path).length;
    if (record === undefined) {
      expect(mounts, 'mounts without a record').to.equal(0);
      if (what === 'publish') expect(existsSync(path), 'a target without a record').to.equal(false);
      else expect(readdirSync(path)).to.deep.equal([]);
      const layers = join(node.stateDir, 'layers');
      const left = existsSync(layers)
        ? readdirSync(layers).filter((name) => !name.startsWith('removed-'))
        : [];
      expect(left, 'layers').to.deep.equal([]);
      return;
    }
    expect(record.state).to.equal('done');
    expect(mounts).to.equal(what === 'stage' && kind.staged === 'nothing' ? 0 : 1);
  }
});
