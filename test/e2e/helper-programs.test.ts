// Which program a FUSE helper is, where the policy says so by path: that file alone, whatever else the volume mounts and
// in whatever order, and whether the helper runs below the driver or below fuse-host.
import { readFileSync, renameSync } from 'node:fs';
import { expect } from 'chai';
import { PROGRAM_DIRECTORIES } from '../../src/mount/fuse/program.ts';
import { writeFiles } from '../support/fixtures.ts';
import { needFile, needRoot, needTool } from '../support/need.ts';
import { startFuseHost, type TestFuseHost } from './fuse-host.ts';
import { mountsBelow } from './kernel.ts';
import { startNode, type TestNode } from './node.ts';
import { startPluginBelow } from './serve.ts';
import { type Volume, volumeOn } from './volume.ts';

/** `bindfs` is a program of the usual directories too, and one that lies beside that of another helper. */
const POLICY = (directory: string) => `
version: 1
rules:
  - class: persistent
    types: [tmpfs, fuse.bindfs, fuse.other, fuse.renamed]
    roots: [{ path: ${directory}/data, access: read-write }]
    helpers:
      bindfs: { program: ${directory}/programs/restricted/bindfs }
      other: { program: ${directory}/programs/others/other }
      renamed: { program: ${directory}/programs/restricted/by-another-name }
`;

/** Writes down that it ran, and with which PATH, by which it then finds what serves. */
const script = (directory: string, name: string) => ({
  content: `#!/bin/sh\necho ${name} "$PATH" >>${directory}/ran\nexec bindfs "$@"\n`,
  mode: 0o755,
});

const PATH = PROGRAM_DIRECTORIES.join(':');

for (const mode of ['inline', 'host'] as const) {
  describe(`the programs of FUSE helpers, --fuse-mode ${mode}`, () => {
    let node: TestNode;
    let host: TestFuseHost | undefined;

    before(async function () {
      needRoot(this, 'the plugin mounts');
      needFile(this, '/dev/fuse', 'it mounts by it');
      needTool(this, 'bindfs', 'it is mounted with here');
      node = await startNode({
        async start(directory) {
          writeFiles(directory, {
            'data/file': 'plain',
            'policy.yaml': POLICY(directory),
            'programs/restricted/bindfs': script(directory, 'restricted/bindfs'),
            'programs/restricted/by-another-name': script(directory, 'restricted/by-another-name'),
            'programs/others/other': script(directory, 'others/other'),
            'programs/others/bindfs': {
              content: `#!/bin/sh\necho impostor >>${directory}/ran; exit 3\n`,
              mode: 0o755,
            },
          });
          const flags = ['--fuse-mode', mode, '--policy', `${directory}/policy.yaml`];
          return startPluginBelow([], directory, flags);
        },
      });
      if (mode === 'host') {
        host = await startFuseHost(node.directory, ['--policy', node.at('policy.yaml')]);
      }
    });
    after(async () => {
      await host?.[Symbol.asyncDispose]();
      await node?.[Symbol.asyncDispose]();
    });
    beforeEach(() => writeFiles(node.directory, { ran: '' }));

    /** A tmpfs with a mount of each helper in it, in this order. */
    const withHelpers = (...helpers: readonly string[]): Volume => {
      const parts = helpers.map((helper) => ({
        ...{ type: `fuse.${helper}`, source: node.at('data'), target: helper },
      }));
      return volumeOn(node, { context: { mounts: JSON.stringify([{ type: 'tmpfs' }, ...parts]) } });
    };
    const ran = () => readFileSync(node.at('ran'), 'utf8').trimEnd().split('\n');

    for (const helpers of [
      ['other', 'bindfs'],
      ['bindfs', 'other'],
    ]) {
      it(`are those of the policy and no neighbours of theirs: ${helpers.join(' before ')}`, async () => {
        await using volume = withHelpers(...helpers);
        expect(await volume.stage()).to.include({ code: 'OK' });
        expect(await volume.publish()).to.include({ code: 'OK' });
        for (const helper of helpers) {
          expect(readFileSync(`${volume.target}/${helper}/file`, 'utf8')).to.equal('plain');
        }
        expect(ran()).to.have.members([`restricted/bindfs ${PATH}`, `others/other ${PATH}`]);
      });
    }

    it('may be called otherwise', async () => {
      await using volume = withHelpers('renamed');
      expect(await volume.stage()).to.include({ code: 'OK' });
      expect(await volume.publish()).to.include({ code: 'OK' });
      expect(readFileSync(`${volume.target}/renamed/file`, 'utf8')).to.equal('plain');
      expect(ran()).to.deep.equal([`restricted/by-another-name ${PATH}`]);
    });

    it('that are not there are looked for nowhere else', async () => {
      const [file, aside] = [node.at('programs/restricted/bindfs'), node.at('aside')];
      renameSync(file, aside);
      try {
        await using volume = withHelpers('other', 'bindfs');
        const answer = await volume.stage();
        expect(answer).to.include({ code: 'FAILED_PRECONDITION' });
        expect(answer.message).to.contain(
          `there is no program ${file}, which the helper bindfs was said to be`,
        );
        expect(ran()).to.deep.equal([`others/other ${PATH}`]);
        expect(mountsBelow(volume.stagingPath)).to.deep.equal([]);
      } finally {
        renameSync(aside, file);
      }
    });
  });
}
