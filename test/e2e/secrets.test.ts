// Secrets come with requests. They are in no log line, at any level, however a call ends, and in no record.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { writeFiles } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { type Answer, startNode, type TestNode } from './node.ts';
import { type Context, volumeOn } from './volume.ts';

const MARKER = 'hunter2-the-marker';
const TOKENS = JSON.stringify({
  '': { token: `${MARKER}-token`, expirationTimestamp: '2030-01-01T00:00:00Z' },
});
const SECRET = {
  secrets: { password: `${MARKER}-secret`, [`${MARKER}-as-a-key`]: 'value', multiline: `a\n${MARKER}"\\b` },
  publishContext: { token: `${MARKER}-publish-context` },
};

describe('secrets', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
    writeFiles(node.at('data'), { file: 'content' });
  });
  after(() => node?.[Symbol.asyncDispose]());

  const withTokens = (context: Context): Context => ({
    ...context,
    'csi.storage.k8s.io/serviceAccount.tokens': TOKENS,
  });

  function expectNoneShown(answers: readonly Answer[]): void {
    const shown = node.plugin.log.map(({ text }) => text).filter((text) => text.includes(MARKER));
    expect(shown, 'log lines').to.deep.equal([]);
    expect(
      node.plugin.log.some(({ text }) => text.includes('"rpc request"')),
      'requests are logged',
    ).to.equal(true);
    for (const { message } of answers) expect(message, 'answer').to.not.contain(MARKER);
    const files = readdirSync(node.stateDir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name));
    for (const file of files) expect(`${file}\n${readFileSync(file, 'utf8')}`).to.not.contain(MARKER);
  }

  it('of calls that succeed', async () => {
    await using volume = volumeOn(node, { context: withTokens({ source: node.at('data') }) });
    const answers = [await volume.stage(SECRET), await volume.publish(SECRET)];
    expect(answers.map(({ code }) => code)).to.deep.equal(['OK', 'OK']);
    expect(node.records()).to.have.length(2);
    expectNoneShown([
      ...answers,
      await volume.publish(SECRET),
      await volume.unpublish(),
      await volume.unstage(),
    ]);
    expectNoneShown([]);
  });

  const failing: readonly (readonly [what: string, context: () => Context, code: Answer['code']])[] = [
    ['for a wrong context', () => ({ source: 'relative' }), 'INVALID_ARGUMENT'],
    ['for an unknown key', () => ({ source: node.at('data'), unknown: 'x' }), 'INVALID_ARGUMENT'],
    ['by policy', () => ({ source: node.at('data'), options: 'suid' }), 'PERMISSION_DENIED'],
    ['by the kernel', () => ({ source: node.at('absent') }), 'NOT_FOUND'],
  ];
  for (const [what, context, code] of failing) {
    it(`of calls that are refused ${what}`, async () => {
      await using volume = volumeOn(node, { context: withTokens(context()) });
      const answer = await volume.stage(SECRET);
      expect(answer).to.include({ code });
      expectNoneShown([answer]);
    });
  }
});
