// One upperdir belongs to one overlay, whichever way each was made.
import { readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { localEngine } from '../../../src/mount/engine.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { mountPlace, type TemporaryDirectory, writeFiles } from '../../support/fixtures.ts';
import { describeEngines, failureOf, mountAt, mountsIn, SHIFT_UP } from './engines.ts';

describeEngines('an upperdir', (bench) => {
  const place = (): TemporaryDirectory => {
    const made = mountPlace();
    writeFiles(made.path, { 'lower/': '', 'upper/': '', 'work/': '', 'work2/': '', 'one/': '', 'two/': '' });
    return made;
  };
  const overlay = (at: TemporaryDirectory, upper: string, work: string, ...more: string[]): Mount => ({
    type: 'overlay',
    source: 'overlay',
    options: [`lowerdir=${at.at('lower')}`, `upperdir=${at.at(upper)}`, `workdir=${at.at(work)}`, ...more],
  });

  for (const [title, more] of [
    ['as it is', []],
    ['below mapped layers', SHIFT_UP],
  ] as const) {
    it(`${title} is refused to a second overlay, under another name too, and free when the first is gone`, async () => {
      using at = place();
      symlinkSync('upper', at.at('alias'));
      await bench.mount(overlay(at, 'upper', 'work', ...more), at.at('one'));
      for (const name of ['upper', 'alias']) {
        const second = overlay(at, name, 'work2', ...more);
        const error = await failureOf(bench.mount(second, at.at('two')), {
          reason: 'upperdir-in-use',
          rolledBack: true,
        });
        expect(error.message).to.include(at.at('one'));
        expect(mountsIn(at.at('two'))).to.equal(0);
      }
      await bench.unmount(at.at('one'));
      await bench.mount(overlay(at, 'alias', 'work2', ...more), at.at('two'));
      await bench.unmount(at.at('two'));
    });
  }

  it('is known by a path with all that has a meaning in options, and escapes there', async () => {
    using at = place();
    writeFiles(at.path, { 'up:p,e\\r/': '' });
    const upper = 'up\\:p\\,e\\\\r';
    await bench.mount(overlay(at, upper, 'work'), at.at('one'));
    const second = bench.mount(overlay(at, upper, 'work2'), at.at('two'));
    await failureOf(second, { reason: 'upperdir-in-use', rolledBack: true });
    await bench.unmount(at.at('one'));
  });

  it('is found below a root, with more options', async () => {
    using at = place();
    const mounts = [overlay(at, 'upper', 'work', 'userxattr')];
    const sourceRoots = [{ path: at.path }];
    await bench.engine.mountAll({ mounts, target: { path: at.at('one') }, sourceRoots });
    writeFileSync(at.at('one/file'), '');
    expect(readdirSync(at.at('upper'))).to.deep.equal(['file']);
    expect(mountAt(at.at('one')).superblockOptions).to.include('userxattr');
    await bench.unmount(at.at('one'));
  });

  it('is refused too to an overlay that is made by other calls', async () => {
    using at = place();
    await bench.mount(overlay(at, 'upper', 'work', ...SHIFT_UP), at.at('one'));
    for (const kernel of [{}, { disabled: ['overlay-layers-by-fd'] }, { api: 'classic' }] as const) {
      await using other = localEngine(kernel);
      const request = { mounts: [overlay(at, 'upper', 'work2')], target: { path: at.at('two') } };
      await failureOf(other.mountAll(request), { reason: 'upperdir-in-use' });
    }
    await bench.unmount(at.at('one'));
  });

  it('goes to one of ten who want it at the same time', async () => {
    using at = place();
    const names = Array.from({ length: 10 }, (_, i) => `t${i}`);
    writeFiles(
      at.path,
      Object.fromEntries(
        names.flatMap((name) => [
          [`${name}/`, ''],
          [`w-${name}/`, ''],
        ]),
      ),
    );
    const outcomes = await Promise.allSettled(
      names.map((name) => bench.mount(overlay(at, 'upper', `w-${name}`), at.at(name))),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).to.have.length(1);
    await Promise.all(names.map((name) => bench.unmount(at.at(name))));
  });
});
