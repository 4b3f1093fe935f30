// The temporary directory for layers, on the host: what a dead maker left goes, what a living one has stays.
import { chownSync, existsSync, mkdirSync, readdirSync, readlinkSync, symlinkSync } from 'node:fs';
import { expect } from 'chai';
import { processEngine } from '../../../src/mount/engine/processes.ts';
import { makeLayersDirectory, removeAbandonedLayers } from '../../../src/mount/layers-directory.ts';
import { reachBy } from '../../../src/mount/source.ts';
import { mountCommand, mountPlace, unmountCommand, writeFiles } from '../../support/fixtures.ts';
import { needRoot } from '../../support/need.ts';
import { mountsIn } from './engines.ts';

describe('directories for layers', () => {
  before(function () {
    needRoot(this, 'mounting takes CAP_SYS_ADMIN');
  });

  it('stay as long as their makers have them open, and go with all that is mounted in them', () => {
    using place = mountPlace();
    const before = mountsIn(place.path);
    {
      using directory = makeLayersDirectory(place.path);
      const [name = ''] = readdirSync(place.path);
      mkdirSync(`${reachBy(directory)}/0`);
      mountCommand('-t', 'tmpfs', 'layer', place.at(name, '0'));
      mkdirSync(place.at(name, '1'));
      symlinkSync('/etc', place.at(name, 'work'));
      removeAbandonedLayers(place.path);
      expect(readdirSync(place.at(name))).to.have.members(['0', '1', 'work']);
      expect(mountsIn(place.path)).to.equal(before + 1);
    }
    removeAbandonedLayers(place.path);
    expect(readdirSync(place.path)).to.deep.equal([]);
    expect(mountsIn(place.path)).to.equal(before);
  });

  it('are not told from what others call so, or mount on them: those stay', () => {
    using place = mountPlace();
    const [foreign, mounted, link, other, full] = ['foreig', 'mounte', 'linked', 'another', 'filled'].map(
      (end) => place.at(`csi-driver-idmap-layers-${end}`),
    ) as [string, string, string, string, string];
    for (const path of [foreign, mounted, other, full]) mkdirSync(path);
    chownSync(foreign, 1000, 1000);
    mountCommand('-t', 'tmpfs', 'mounted', mounted);
    symlinkSync(foreign, link);
    writeFiles(full, { kept: '' });
    removeAbandonedLayers(place.path);
    for (const path of [foreign, mounted, link, other, `${full}/kept`]) {
      expect(existsSync(path), path).to.equal(true);
    }
    unmountCommand(mounted);
  });

  it('are looked for by an engine process that starts', async () => {
    // Its own: it gets no TMPDIR.
    const directory = makeLayersDirectory('/tmp');
    const path = readlinkSync(reachBy(directory));
    directory[Symbol.dispose]();
    await using engine = processEngine({ processes: 1 });
    await engine.lookup({ target: { path: '/proc' } });
    expect(existsSync(path)).to.equal(false);
  });

  it('are no matter where there is no such location', () => {
    using place = mountPlace();
    expect(() => removeAbandonedLayers(place.at('none'))).not.to.throw();
  });
});
