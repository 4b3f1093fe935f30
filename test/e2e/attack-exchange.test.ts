// Attacks by exchanging what names mean while the driver looks: each volume is refused, or shows what is its author's own.
// ATTACK_TRIES is how often each way is tried (default: what some seconds allow).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { loopDevicesOf } from '../../src/mount/loop.ts';
import { mountCommand, unmountCommand } from '../support/fixtures.ts';
import { expectNoLoops, makeTinyImage } from '../support/images.ts';
import { needRoot } from '../support/need.ts';
import { type AttackedNode, attackedNode, FINAL, identityOf } from './attack.ts';
import type { Context } from './volume.ts';

const TRIES = Number(process.env.ATTACK_TRIES ?? 0);
const SHORT_MS = 1_500;
const LONGEST_MS = 60_000;
/** Calls at a time, as kubelet makes them. */
const AT_ONCE = 4;

interface Way {
  readonly context: (node: AttackedNode) => Context;
  /** Fails when the target shows anything but what is the author's own. */
  readonly look: (node: AttackedNode, target: string) => void;
}

const WAYS: Readonly<Record<string, Way>> = {
  'a link': {
    context: (node) => ({ source: node.of('team-a', 'link') }),
    look: (node, target) => expect(identityOf(target)).to.equal(identityOf(node.of('team-a', 'dir'))),
  },
  'a directory on the way': {
    context: (node) => ({ source: node.of('team-a', 'w/upper') }),
    look: (node, target) => expect(identityOf(target)).to.equal(identityOf(node.at('kept/upper'))),
  },
  layers: {
    context: (node) => ({
      ...{ type: 'overlay', lowerdir: `${node.of('team-a', 'link')}:${node.of('team-a', 'w/upper')}` },
    }),
    look: (_, target) => expect(readFileSync(join(target, 'file'), 'utf8')).to.equal('team-a'),
  },
  'a layer below an ephemeral one': {
    context: (node) => ({ type: 'overlay', lowerdir: node.of('team-a', 'link'), writable: 'ephemeral' }),
    look: (_, target) => expect(readFileSync(join(target, 'file'), 'utf8')).to.equal('team-a'),
  },
  'an image': {
    context: (node) => ({ type: 'image', source: node.of('team-a', 'image'), fsType: 'ext4', options: 'ro' }),
    look: (node) => expect(loopDevicesOf(node.of('team-a', '.image'))).to.have.length(1),
  },
  'one mount of two': {
    context: (node) => ({
      mounts: JSON.stringify([
        { source: node.of('team-a', 'dir') },
        { source: node.of('team-a', 'link'), target: 'x' },
      ]),
    }),
    look: (node, target) =>
      expect(identityOf(join(target, 'x'))).to.equal(identityOf(node.of('team-a', 'dir'))),
  },
};

describe('an attack by exchanging names meanwhile', () => {
  let node: AttackedNode;
  let attacker: AsyncDisposable;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await attackedNode();
    prepare(this);
    attacker = await attackerOn(node.of('team-a'));
  });
  after(async () => {
    await attacker?.[Symbol.asyncDispose]();
    if (node !== undefined) unmountCommand(node.at('kept'));
    await node?.[Symbol.asyncDispose]();
  });

  /** What the attacker exchanges (exchanging.fixture.ts): `link`, `w` and `image`, with what lies in ../outside. */
  function prepare(context: Mocha.Context): void {
    symlinkSync(node.at('secret'), node.at('volumes/outside'));
    mkdirSync(node.at('secret/w/upper'), { recursive: true });
    mkdirSync(node.of('team-a', 'w/upper'), { recursive: true });
    mkdirSync(node.at('kept'));
    mountCommand('--bind', node.of('team-a', 'w'), node.at('kept'));
    makeTinyImage(context, node.of('team-a', '.image'));
    makeTinyImage(context, node.at('secret/image'));
    linkSync(node.of('team-a', '.image'), node.of('team-a', 'image'));
    symlinkSync('dir', node.of('team-a', 'link'));
  }

  for (const [what, way] of Object.entries(WAYS)) {
    it(`of ${what} is refused, or shows what is one’s own`, async function () {
      this.timeout(TRIES > 0 ? 0 : 3 * LONGEST_MS);
      const before = { mounts: node.mounts(), records: node.records() };
      const outcome = { shown: 0, refused: 0 };
      const begun = performance.now();
      let tries = 0;
      const goesOn = () => {
        const lasted = performance.now() - begun;
        if (TRIES > 0) return tries++ < TRIES;
        return lasted < SHORT_MS || (lasted < LONGEST_MS && outcome.shown * outcome.refused === 0);
      };
      const attack = async () => {
        while (goesOn()) {
          if (await isShown(way)) outcome.shown++;
          else outcome.refused++;
        }
      };
      const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, attack));
      for (const one of ended) if (one.status === 'rejected') throw one.reason;
      expect({ mounts: node.mounts(), records: node.records() }).to.deep.equal(before);
      expectNoLoops(node.at('secret/image'));
      expect(readdirSync(node.at('secret/w/upper'))).to.deep.equal([]);
      expect(outcome.shown, 'shown').to.be.above(0);
      expect(outcome.refused, 'refused').to.be.above(0);
    });
  }

  async function isShown({ context, look }: Way): Promise<boolean> {
    await using volume = node.volume(context(node));
    const answer = await volume.publish();
    if (answer.code !== 'OK') {
      expect(answer.code, answer.message).to.be.oneOf(FINAL);
      return false;
    }
    look(node, volume.target);
    return true;
  }

  it('of what the last call left: nothing', () => {
    rmSync(node.at('kubelet/pods'), { recursive: true });
    expect(node.records()).to.deep.equal([]);
  });
});

async function attackerOn(directory: string): Promise<AsyncDisposable> {
  const fixture = fileURLToPath(new URL('../kernel/mount/exchanging.fixture.ts', import.meta.url));
  const attacker = spawn(process.execPath, [fixture, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(attacker, 'exit');
  await Promise.race([once(attacker.stdout, 'data'), ended]);
  return {
    async [Symbol.asyncDispose]() {
      attacker.kill('SIGKILL');
      await ended;
    },
  };
}
