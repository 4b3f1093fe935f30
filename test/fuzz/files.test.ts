// Files that the driver finds, damaged: records in its state directory, which it opens and acts upon when it starts, and what
// kubelet has written of a pod.
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { openJournal } from '../../src/journal/journal.ts';
import { currentIn, fileNameOf, parseRecord } from '../../src/journal/record.ts';
import { readPodRecord } from '../../src/userns/pod-record.ts';
import { startNode } from '../e2e/node.ts';
import { startPlugin } from '../sanity/plugin.ts';
import { cases } from '../support/cases.ts';
import { temporaryDirectory } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { POD_RECORDS, RECORDS } from './corpus.ts';
import { damagedBytes, damagedText } from './damage.ts';

/** What can be read has its right name, or it would be set aside for that. */
function writeRecords(directory: string, texts: readonly string[]): void {
  mkdirSync(directory, { recursive: true });
  for (const [i, text] of texts.entries())
    writeFileSync(join(directory, nameOf(text) ?? `publish-${i}.json`), text);
}

function nameOf(text: string): string | undefined {
  try {
    return fileNameOf(parseRecord(currentIn(text)));
  } catch {
    return undefined;
  }
}

describe('damaged files', () => {
  it('of the journal: each is a record, or set aside; none is lost', async () => {
    // An empty one was never written.
    const text = damagedText(RECORDS).filter((one) => one !== '');
    const onePerFile = fc.array(text, { minLength: 1, maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(onePerFile, async (texts) => {
        using place = temporaryDirectory();
        const directory = place.at('records');
        writeRecords(directory, texts);
        const files = readdirSync(directory).length;
        let [aside, later] = [0, 0];
        using journal = await openJournal({
          stateDir: place.path,
          onSetAside: () => void aside++,
          onLater: () => void later++,
        });
        const known = journal.all().length;
        expect(known + aside).to.be.within(files - later, files);
        expect(readdirSync(directory)).to.have.length(files);
      }),
      { numRuns: cases(20) },
    );
  });

  it("of kubelet: a pod's mapping, none, or what is wrong", async () => {
    using place = temporaryDirectory();
    const podUid = '0aa2c1f8-7d2c-4c5e-8d3f-8c6f2b7a1e11';
    const directory = place.at('pods', podUid);
    mkdirSync(directory, { recursive: true });
    fc.assert(
      fc.property(damagedBytes(POD_RECORDS.map((text) => Buffer.from(text))), (bytes) => {
        writeFileSync(join(directory, 'userns'), bytes);
        const { is } = readPodRecord({ kubeletDir: place.path, podUid });
        expect(is).to.be.oneOf(['mapped', 'none', 'invalid']);
      }),
      { numRuns: cases(300) },
    );
  });

  it('of the journal, when the driver starts: it gets ready, and finds no defect in itself', async function () {
    needRoot(this, 'the plugin mounts');
    // A start takes as long as a thousand of the others.
    const texts = fc.sample(damagedText(RECORDS), { numRuns: cases(60) });
    await using node = await startNode({
      start: (directory) => {
        writeRecords(join(directory, 'kubelet/plugins/idmap.csi.dev/records'), texts);
        return startPlugin(directory, ['--log-level', 'error']);
      },
    });
    expect(await node.ask((rpc) => rpc.nodeGetInfo({}))).to.include({ code: 'OK' });
    expect(node.plugin.log.map(({ text }) => text).join('\n')).to.equal('');
    expect(node.mounts()).to.deep.equal([]);
  });
});
