// Secrets come with requests. They are in no log line, at any level, however a call ends, in no answer, record, metric or
// plan, and in no command line that others on the node can see.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { writeFiles } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { run } from './command.ts';
import { type Answer, startNode, type TestNode } from './node.ts';
import { startPluginBelow } from './serve.ts';
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
    const settings = ['CSI_IDMAP_LOG_LEVEL=debug', 'CSI_IDMAP_METRICS_ADDRESS=127.0.0.1:0'];
    node = await startNode({ start: (directory) => startPluginBelow(['env', ...settings], directory) });
    writeFiles(node.at('data'), { file: 'content' });
  });
  after(() => node?.[Symbol.asyncDispose]());

  const withTokens = (context: Context): Context => ({
    ...context,
    'csi.storage.k8s.io/serviceAccount.tokens': TOKENS,
  });

  async function expectNoneShown(answers: readonly Answer[]): Promise<void> {
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
    for (const line of commandLines()) expect(line, 'a command line').to.not.contain(MARKER);
    const serving = node.plugin.log.find(({ text }) => text.includes('serving metrics'));
    const { address } = JSON.parse(serving?.text ?? '{}') as { address?: string };
    const metrics = await fetch(`http://${address}/metrics`, { headers: { connection: 'close' } });
    expect(metrics.status).to.equal(200);
    expect(await metrics.text(), 'metrics').to.not.contain(MARKER);
  }

  it('of calls that succeed', async () => {
    await using volume = volumeOn(node, { context: withTokens({ source: node.at('data') }) });
    const answers = [await volume.stage(SECRET), await volume.publish(SECRET)];
    expect(answers.map(({ code }) => code)).to.deep.equal(['OK', 'OK']);
    expect(node.records()).to.have.length(2);
    await expectNoneShown([
      ...answers,
      await volume.publish(SECRET),
      await volume.unpublish(),
      await volume.unstage(),
    ]);
    await expectNoneShown([]);
  });

  it('of a volume that programs are started for: an image that is made, checked and grown, and a FUSE helper', async function () {
    needTool(this, 'bindfs', 'a FUSE helper, whose command line stays');
    needTool(this, 'mkfs.xfs', 'an image that can grow on every machine');
    await using image = volumeOn(node, {
      context: withTokens({
        type: 'image',
        source: node.at('image'),
        fsType: 'xfs',
        mkfs: 'true',
        size: '300Mi',
      }),
    });
    await using fuse = volumeOn(node, {
      context: withTokens({ type: 'fuse.bindfs', source: node.at('data') }),
    });
    const answers = [];
    for (const volume of [image, fuse])
      answers.push(await volume.stage(SECRET), await volume.publish(SECRET));
    const request = {
      ...{ volumeId: image.id, volumePath: image.target, stagingTargetPath: '', volumeCapability: undefined },
      ...{ capacityRange: { requiredBytes: 400n * 2n ** 20n, limitBytes: 0n }, secrets: SECRET.secrets },
    };
    answers.push(await node.ask((rpc) => rpc.nodeExpandVolume(request)));
    expect(answers.map(({ code }) => code)).to.deep.equal(answers.map(() => 'OK'));
    expect(commandLines().some((line) => line.includes('bindfs'))).to.equal(true);
    await expectNoneShown(answers);
  });

  it('of a plan', () => {
    const file = node.at('attributes.json');
    writeFileSync(file, JSON.stringify(withTokens({ source: node.at('data') })));
    const { stdout, stderr } = run(['plan', '--volume-context', file]);
    expect(stdout).to.contain('open_tree');
    expect(`${stdout}${stderr}`).to.not.contain(MARKER);
  });

  const failing: readonly (readonly [what: string, context: () => Context, code: Answer['code']])[] = [
    ['for a wrong context', () => ({ source: 'relative' }), 'INVALID_ARGUMENT'],
    ['for an unknown key', () => ({ source: node.at('data'), unknown: 'x' }), 'INVALID_ARGUMENT'],
    ['by policy', () => ({ source: node.at('data'), options: 'suid' }), 'PERMISSION_DENIED'],
    ['by the kernel', () => ({ type: 'overlay', lowerdir: node.at('absent') }), 'NOT_FOUND'],
  ];
  for (const [what, context, code] of failing) {
    it(`of calls that are refused ${what}`, async () => {
      await using volume = volumeOn(node, { context: withTokens(context()) });
      const answer = await volume.stage(SECRET);
      expect(answer).to.include({ code });
      await expectNoneShown([answer]);
    });
  }
});

/** Of all processes, as anybody on the node can read them. */
function commandLines(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      } catch {
        return ''; // It has ended meanwhile.
      }
    });
}
