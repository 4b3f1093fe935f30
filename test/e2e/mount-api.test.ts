// Volumes of every kind by a plugin that makes its mounts by mount(2) alone (`--mount-api classic`), as on a kernel or in
// a sandbox without the calls that make detached mounts: pods find and write the same.
import { join } from 'node:path';
import { expect } from 'chai';
import { startPlugin } from '../sanity/plugin.ts';
import { ownerOf } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { filesIn, KINDS, needKind, volumeOfKind, writeNote } from './kinds.ts';
import { startNode, type TestNode } from './node.ts';

describe('a plugin that mounts by mount(2)', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode({ start: (directory) => startPlugin(directory, ['--mount-api', 'classic']) });
  });
  after(() => node?.[Symbol.asyncDispose]());

  for (const kind of KINDS) {
    it(`serves: ${kind.title}`, async function () {
      needKind(this, kind);
      await using volume = volumeOfKind(node, kind);
      if (!kind.inline) expect((await volume.stage()).message).to.equal('');
      expect((await volume.publish()).message).to.equal('');
      expect(filesIn(volume.target)).to.deep.equal(kind.files);
      expect(writeNote(kind, volume.target)).to.equal(kind.written === 'not' ? 'EROFS' : 'written');
      if (kind.kept)
        expect(ownerOf(join(volume.data, kind.kept.directory, 'note'))).to.equal(kind.kept.owner);
    });
  }
});
