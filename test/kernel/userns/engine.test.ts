// The engine's user namespaces: one for a mapping, made in the ways that the kernel has.
import { statSync } from 'node:fs';
import { expect } from 'chai';
import { localEngine } from '../../../src/mount/engine.ts';
import { mountPlace, writeFiles } from '../../support/fixtures.ts';
import { openDescriptors } from '../../support/leaks.ts';
import { SHIFT_UP } from '../mount/engines.ts';
import { describeWays } from './ways.ts';

const heldNamespaces = (): number =>
  openDescriptors(process.pid).filter((line) => line.includes('user:[')).length;

describeWays('an engine', ({ without }) => {
  it('has one namespace for many mounts of a mapping, and none when it is shut', async () => {
    using place = mountPlace();
    writeFiles(place.at('source'), { file: { uid: 7, gid: 8 } });
    const before = heldNamespaces();
    {
      await using engine = localEngine({ disabled: without });
      const mount = { type: 'bind', source: place.at('source'), options: ['bind', ...SHIFT_UP] };
      for (const name of ['a', 'b', 'c']) {
        await engine.mountAll({ mounts: [mount], target: { path: place.at(name) }, create: 'directory' });
        expect(statSync(place.at(name, 'file'))).to.include({ uid: 100_007, gid: 100_008 });
      }
      expect(heldNamespaces() - before).to.equal(1);
      for (const name of ['a', 'b', 'c']) await engine.unmount({ target: { path: place.at(name) } });
    }
    expect(heldNamespaces()).to.equal(before);
  });
});
