// Layers that lie side by side, which are opened through their directory: whatever one of them is, each is shown, in its
// place, and with its ids mapped.
import { readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { expect } from 'chai';
import type { SourceRequest } from '../../../src/mount/source.ts';
import {
  mountCommand,
  mountPlace,
  ownerOf,
  type TemporaryDirectory,
  unmountCommand,
  writeFiles,
} from '../../support/fixtures.ts';
import { type Bench, describeEngines, failureOf, mountsIn, SHIFT_UP } from './engines.ts';

const IDS = [
  { title: 'as they are', ids: [], owner: '0:0' },
  { title: 'mapped', ids: SHIFT_UP, owner: '100000:100000' },
] as const;

const FROM: readonly {
  readonly title: string;
  readonly sources: (place: TemporaryDirectory) => SourceRequest;
}[] = [
  { title: 'by name', sources: () => ({}) },
  {
    title: 'below a root',
    sources: (place) => ({ sourceRoots: [{ path: place.at('root'), except: [place.at('root/kept')] }] }),
  },
];

const LAYERS = ['plain', 'mounted', 'link', 'holder'] as const;

/** In `root` a directory, a mount point, a link to one that lies elsewhere, and one with a mount point in it. */
function sideBySide(): TemporaryDirectory {
  const place = mountPlace();
  const files = Object.fromEntries(
    ['root/plain', 'disk/data', 'root/deep/linked', 'root/holder'].flatMap((name, i) => [
      [`${name}/of-${LAYERS[i]}`, ''],
      [`${name}/same`, LAYERS[i] ?? ''],
    ]),
  );
  writeFiles(place.path, { ...files, 'root/mounted/hidden': '', 'root/holder/inner/': '', 'root/kept/': '' });
  symlinkSync('deep/linked', place.at('root/link'));
  mountCommand('--bind', place.at('disk/data'), place.at('root/mounted'));
  mountCommand('--bind', place.at('disk/data'), place.at('root/holder/inner'));
  return place;
}

function end(place: TemporaryDirectory): void {
  unmountCommand(place.at('root/mounted'));
  unmountCommand(place.at('root/holder/inner'));
}

function mountOf(
  bench: Bench,
  place: TemporaryDirectory,
  layers: readonly string[],
  { ids, from }: { readonly ids: readonly string[]; readonly from: SourceRequest },
): Promise<unknown> {
  const lowerdir = `lowerdir=${layers.map((name) => place.at('root', name)).join(':')}`;
  const mounts = [{ type: 'overlay', source: 'overlay', options: [lowerdir, ...ids] }];
  return bench.engine.mountAll({
    ...{ mounts, target: { path: place.at('target') }, create: 'directory' },
    ...from,
  });
}

describeEngines('layers that lie side by side', (bench) => {
  for (const { title, ids, owner } of IDS) {
    for (const { title: how, sources } of FROM) {
      it(`are each what their name leads to, in their order, ${how}, ${title}`, async () => {
        using place = sideBySide();
        const from = sources(place);
        for (const layers of [LAYERS, LAYERS.toReversed(), ['link', 'plain', 'holder', 'mounted'] as const]) {
          await mountOf(bench, place, layers, { ids, from });
          const shown = readdirSync(place.at('target')).toSorted();
          expect(shown).to.deep.equal([...LAYERS.map((name) => `of-${name}`), 'inner', 'same'].toSorted());
          expect(readFileSync(place.at('target/same'), 'utf8')).to.equal(layers[0]);
          for (const name of shown) expect(ownerOf(place.at('target', name)), name).to.equal(owner);
          expect(readdirSync(place.at('target/inner'))).to.deep.equal([]);
          await bench.unmount(place.at('target'));
        }
        end(place);
      });

      it(`are named when one is missing or no directory, ${how}, ${title}`, async () => {
        using place = sideBySide();
        writeFiles(place.at('root'), { file: '' });
        symlinkSync('nowhere', place.at('root/dangling'));
        const from = sources(place);
        for (const wrong of ['missing', 'dangling', 'missing/below']) {
          const mounting = mountOf(bench, place, ['plain', 'holder', wrong], { ids, from });
          const error = await failureOf(mounting, { reason: 'source-not-found', rolledBack: true });
          expect(error.message).to.contain(place.at('root', wrong));
        }
        const mounting = mountOf(bench, place, ['plain', 'holder', 'file'], { ids, from });
        await failureOf(mounting, { rolledBack: true });
        end(place);
        expect(mountsIn(place.path)).to.equal(1);
      });
    }
  }

  it('are mapped where what they are mounted on cannot be', async () => {
    using place = mountPlace();
    writeFiles(place.path, {
      'lower/x/': '',
      'lower/y/': '',
      'bottom/': '',
      'disk/x/of-x': '',
      'disk/y/of-y': '',
    });
    mountCommand(
      '-t',
      'overlay',
      '-o',
      `lowerdir=${place.at('lower')}:${place.at('bottom')}`,
      'o',
      place.at('bottom'),
    );
    for (const name of ['x', 'y']) mountCommand('--bind', place.at('disk', name), place.at('bottom', name));
    for (const from of [{}, { sourceRoots: [{ path: place.path }] }]) {
      const options = [`lowerdir=${place.at('bottom/x')}:${place.at('bottom/y')}`, ...SHIFT_UP];
      const mounts = [{ type: 'overlay', source: 'overlay', options }];
      await bench.engine.mountAll({
        mounts,
        target: { path: place.at('target') },
        create: 'directory',
        ...from,
      });
      expect(ownerOf(place.at('target/of-x'))).to.equal('100000:100000');
      expect(ownerOf(place.at('target/of-y'))).to.equal('100000:100000');
      await bench.unmount(place.at('target'));
    }
    for (const name of ['bottom/x', 'bottom/y', 'bottom']) unmountCommand(place.at(name));
  });

  it('are found on several levels, and on several mounts at once, mapped', async () => {
    using place = mountPlace();
    const names = ['root/a', 'root/b', 'root/c/fs', 'root/d/fs', 'disk/e', 'disk/f'];
    writeFiles(place.path, Object.fromEntries(names.map((name, i) => [`${name}/file${i}`, ''])));
    mountCommand('--bind', place.at('disk'), place.at('disk'));
    for (const from of [{}, { sourceRoots: [{ path: place.at('root') }, { path: place.at('disk') }] }]) {
      const options = [`lowerdir=${names.map((name) => place.at(name)).join(':')}`, ...SHIFT_UP];
      const mounts = [{ type: 'overlay', source: 'overlay', options }];
      await bench.engine.mountAll({
        mounts,
        target: { path: place.at('target') },
        create: 'directory',
        ...from,
      });
      const shown = readdirSync(place.at('target')).toSorted();
      expect(shown).to.deep.equal(names.map((_, i) => `file${i}`));
      for (const name of shown) expect(ownerOf(place.at('target', name))).to.equal('100000:100000');
      await bench.unmount(place.at('target'));
    }
    unmountCommand(place.at('disk'));
  });
});
