// A bind of a directory with mounts below it, and what happens on either side of a bind later.
import { mkdirSync, rmdirSync } from 'node:fs';
import { expect } from 'chai';
import { mountCommand, PLACE_TYPE, unmountCommand, writeFiles } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { mountsAt, peersOf, theMountAt } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { expectRefused } from './refusal.ts';
import { capability, volumeOn } from './volume.ts';

describe('a bind of a tree of mounts', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
    // As on a node run by systemd: all is shared.
    writeFiles(node.at('data'), { 'below/': {}, 'later/': {}, file: 'top' });
    mountCommand('--bind', node.at('data'), node.at('data'));
    mountCommand('--make-shared', node.at('data'));
    mountCommand('-t', 'tmpfs', 'tmpfs', node.at('data/below'));
    writeFiles(node.at('data/below'), { file: 'below' });
  });
  after(async () => {
    if (node === undefined) return;
    unmountCommand('--recursive', node.at('data'));
    await node[Symbol.asyncDispose]();
  });

  it('shows the directory alone', async () => {
    await using volume = volumeOn(node, { context: { source: node.at('data') } });
    await volume.stage();
    expect(await volume.publish()).to.include({ code: 'OK' });
    expect(mountsAt(`${volume.target}/below`)).to.deep.equal([]);
    // Not private: a runtime refuses HostToContainer on what is.
    expect(theMountAt(volume.target).propagation.join(' ')).to.match(/^shared:\d+$/);
    expect(peersOf(volume.target), 'peers').to.deep.equal([]);
  });

  it('is refused with all that is mounted below: flags would hold for its top alone', async () => {
    const context = { source: node.at('data') };
    await using volume = volumeOn(node, { context });
    const refusal = { code: 'PERMISSION_DENIED', message: /"rbind" is not allowed for type bind/ } as const;
    await expectRefused(
      node,
      () => volume.stage({ volumeContext: { ...context, options: 'rbind' } }),
      refusal,
    );
    const volumeCapability = capability('SINGLE_NODE_WRITER', ['rbind']);
    await expectRefused(node, () => volume.stage({ volumeCapability }), refusal);
  });

  it('keeps to itself what is mounted in it, and does not show what the source gets later', async () => {
    await using volume = volumeOn(node, { context: { source: node.at('data') } });
    await volume.stage();
    await volume.publish();
    mountCommand('-t', 'tmpfs', 'tmpfs', `${volume.target}/below`);
    mountCommand('-t', 'tmpfs', 'tmpfs', node.at('data/later'));
    try {
      expect(mountsAt(node.at('data/below')), 'at the source').to.have.length(1);
      expect(mountsAt(`${volume.stagingPath}/below`), 'at the staging path').to.deep.equal([]);
      expect(mountsAt(`${volume.target}/later`), 'at the target').to.deep.equal([]);
    } finally {
      unmountCommand(`${volume.target}/below`);
      unmountCommand(node.at('data/later'));
    }
  });

  it('that a pod has mounted something in is busy until that is gone, and keeps its record', async () => {
    await using volume = volumeOn(node, { context: { source: node.at('data') } });
    await volume.stage();
    await volume.publish();
    mountCommand('-t', 'tmpfs', 'tmpfs', `${volume.target}/below`);
    const answer = await volume.unpublish();
    try {
      expect(answer).to.include({ code: 'FAILED_PRECONDITION' });
      expect(answer.message).to.contain(`${volume.target} is in use`);
      expect(theMountAt(volume.target).type).to.equal(PLACE_TYPE);
      expect(node.records()).to.have.length(2);
    } finally {
      unmountCommand(`${volume.target}/below`);
    }
    expect(await volume.unpublish()).to.include({ code: 'OK' });
  });

  it('of a source that is gone meanwhile is unpublished and unstaged all the same', async () => {
    mkdirSync(node.at('short-lived'));
    await using volume = volumeOn(node, { context: { source: node.at('short-lived') } });
    await volume.stage();
    await volume.publish();
    rmdirSync(node.at('short-lived'));
    expect(await volume.unpublish()).to.include({ code: 'OK' });
    expect(await volume.unstage()).to.include({ code: 'OK' });
  });
});
