// Sources whose names are exchanged while they are mounted, by a process that does nothing else: what is mounted is what
// lies below the root, or nothing. ATTACK_TRIES is how often (default: what a second or two allows).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { linkSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { MountError, type MountReason } from '../../../src/mount/errors.ts';
import { loopDevicesOf } from '../../../src/mount/loop.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import {
  mountCommand,
  mountPlace,
  ownerOf,
  type TemporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { expectNoLoops, makeTinyImage } from '../../support/images.ts';
import { type Bench, describeEngines, mountsIn, SHIFT_UP } from './engines.ts';

const TRIES = Number(process.env.ATTACK_TRIES ?? 0);
const SHORT_MS = 1_500;
const LONGEST_MS = 120_000;

interface Victim {
  /** In every so many rounds: some take long. */
  readonly every: number;
  readonly mount: (place: TemporaryDirectory) => Mount;
  /** Fails when the target shows anything that is not below the root. */
  readonly look: (place: TemporaryDirectory, target: string) => void;
}

const identityOf = (path: string): string => {
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
};

const overlay = (...options: string[]): Mount => ({ type: 'overlay', source: 'overlay', options });

const VICTIMS: Readonly<Record<string, Victim>> = {
  'a link': {
    every: 1,
    mount: (place) => ({ type: 'bind', source: place.at('root/link'), options: [] }),
    look: (place, target) => expect(identityOf(target)).to.equal(identityOf(place.at('root/dir'))),
  },
  'a directory on the way': {
    every: 1,
    mount: (place) => ({ type: 'rbind', source: place.at('root/w/upper'), options: [] }),
    // Wherever that is at this moment.
    look: (place, target) => expect(identityOf(target)).to.equal(identityOf(place.at('kept/upper'))),
  },
  layers: {
    every: 1,
    mount: (place) => overlay(`lowerdir=${place.at('root/link')}:${place.at('root/w/upper')}`),
    look: (_, target) => expect(readFileSync(`${target}/file`, 'utf8')).to.equal('root'),
  },
  'layers side by side': {
    every: 1,
    mount: (place) => overlay(`lowerdir=${besides(place).join(':')}`),
    look: (_, target) => expect(readFileSync(`${target}/whose`, 'utf8')).to.equal('root'),
  },
  'mapped layers side by side': {
    every: 1,
    mount: (place) => overlay(`lowerdir=${besides(place).join(':')}`, ...SHIFT_UP),
    look(_, target) {
      expect(readFileSync(`${target}/whose`, 'utf8')).to.equal('root');
      expect(readFileSync(`${target}/file`, 'utf8')).to.equal('root');
      expect(['whose', 'file'].map((name) => ownerOf(`${target}/${name}`))).to.deep.equal([MAPPED, MAPPED]);
    },
  },
  'an upper layer': {
    every: 4,
    mount: (place) =>
      overlay(
        `lowerdir=${place.at('root/dir')}:${place.at('root/other')}`,
        `upperdir=${place.at('root/w/upper')}`,
        `workdir=${place.at('root/w/work')}`,
      ),
    look(place, target) {
      writeFileSync(`${target}/written`, '');
      expect(readdirSync(place.at('kept/upper'))).to.include('written');
    },
  },
  'an image': {
    every: 8,
    mount: (place) => ({ type: 'ext4', source: place.at('root/image'), options: ['loop', 'ro'] }),
    look: (place) => expect(loopDevicesOf(place.at('root/.image'))).to.have.length(1),
  },
};

/** In one directory: two that are exchanged, and one that is not. */
const besides = (place: TemporaryDirectory): string[] =>
  ['w', 'link', 'other'].map((name) => place.at('root', name));

const MAPPED = '100000:100000';

const REFUSALS: readonly MountReason[] = ['source-outside-roots', 'source-not-found'];

function attacked(context: Mocha.Context): TemporaryDirectory {
  const place = mountPlace();
  for (const tree of ['root', 'outside']) {
    writeFiles(place.at(tree), {
      'dir/file': tree,
      'other/': '',
      'w/upper/': '',
      'w/work/': '',
      'w/whose': tree,
    });
  }
  makeTinyImage(context, place.at('root/.image'));
  makeTinyImage(context, place.at('outside/image'));
  linkSync(place.at('root/.image'), place.at('root/image'));
  symlinkSync('dir', place.at('root/link'));
  return place;
}

describeEngines('sources whose names are exchanged meanwhile', (bench) => {
  it('are what lies below the root, or refused', async function () {
    this.timeout(TRIES > 0 ? 0 : 2 * LONGEST_MS);
    using place = attacked(this);
    // `w` under a name that stays.
    using _kept = boundAt(place, 'root/w', 'kept');
    await using _attacker = await attackerOn(place.at('root'));
    const outcomes = await storm(bench, place);
    expectNoLoops(place.at('outside/image'));
    expect(readdirSync(place.at('outside/w/upper'))).to.deep.equal([]);
    expect(readdirSync(place.at('outside/w/work'))).to.deep.equal([]);
    for (const [name, { mounted, refused }] of Object.entries(outcomes)) {
      expect(mounted, `${name}: mounted`).to.be.above(0);
      expect(refused, `${name}: refused`).to.be.above(0);
    }
  });
});

interface Outcome {
  mounted: number;
  refused: number;
}

/** Mounts each victim in turn, as often as is wanted, and until each has been mounted and refused. */
async function storm(bench: Bench, place: TemporaryDirectory): Promise<Readonly<Record<string, Outcome>>> {
  const outcomes = Object.fromEntries(Object.keys(VICTIMS).map((name) => [name, { mounted: 0, refused: 0 }]));
  const all = Object.values(outcomes);
  const begun = performance.now();
  const goesOn = (tries: number) => {
    const lasted = performance.now() - begun;
    const wanted = TRIES > 0 ? tries < TRIES : lasted < SHORT_MS;
    return wanted || (lasted < LONGEST_MS && all.some(({ mounted, refused }) => mounted * refused === 0));
  };
  for (let tries = 0; goesOn(tries); tries++) {
    for (const [name, victim] of Object.entries(VICTIMS)) {
      if (tries % victim.every !== 0) continue;
      if (await attempt(bench, place, victim)) (outcomes[name] as Outcome).mounted++;
      else (outcomes[name] as Outcome).refused++;
    }
  }
  return outcomes;
}

async function attempt(bench: Bench, place: TemporaryDirectory, { mount, look }: Victim): Promise<boolean> {
  const target = { path: place.at('target') };
  const sourceRoots = [{ path: place.at('root') }];
  const before = mountsIn(place.path);
  try {
    await bench.engine.mountAll({ mounts: [mount(place)], target, create: 'directory', sourceRoots });
  } catch (error) {
    expect(error).to.be.instanceOf(MountError);
    const { reason, rolledBack, message } = error as MountError;
    expect(reason, message).to.be.oneOf(REFUSALS);
    expect(rolledBack).to.equal(true);
    expect(mountsIn(place.path)).to.equal(before);
    return false;
  }
  try {
    look(place, target.path);
  } finally {
    await bench.engine.unmount({ target, remove: 'directory' });
  }
  return true;
}

async function attackerOn(directory: string): Promise<AsyncDisposable> {
  const fixture = fileURLToPath(new URL('exchanging.fixture.ts', import.meta.url));
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

function boundAt(place: TemporaryDirectory, name: string, at: string): Disposable {
  writeFiles(place.path, { [`${at}/`]: '' });
  mountCommand('--bind', place.at(name), place.at(at));
  return { [Symbol.dispose]: () => unmountCommand(place.at(at)) };
}
