// SIGUSR2 makes a running plugin, or fuse-host, say more, and again as much as it was told to.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { connect } from '../../src/rpc/client.ts';
import { NodeService } from '../../src/rpc/generated/csi.ts';
import { eventually, mountPlace } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { startFuseHost } from './fuse-host.ts';
import { flagsOf, type Served, serve } from './serve.ts';

const levelsOf = ({ said }: Pick<Served, 'said'>) =>
  said.filter((line) => line.includes('SIGUSR2')).map((line) => JSON.parse(line).logLevel);

/** With what asks it for something. */
async function serving(
  stack: AsyncDisposableStack,
  directory: string,
  wrapper: readonly string[] = [],
): Promise<Served & { ask(): Promise<boolean> }> {
  const served = serve([...flagsOf(directory), '--log-level', 'warn'], wrapper);
  stack.defer(async () => {
    served.child.kill('SIGTERM');
    await served.ended;
  });
  const node = stack.use(connect(NodeService, join(directory, 'csi.sock')));
  const ask = () => node.nodeGetInfo({}, { timeoutMs: 1_000 }).then(Boolean, () => false);
  let answers = false;
  while (!answers && served.child.exitCode === null) answers = await ask();
  return { ...served, ask };
}

describe('the log level', () => {
  it('of a running plugin is debug after SIGUSR2, and the configured one after another', async function () {
    needRoot(this, 'the plugin mounts');
    using place = mountPlace();
    await using stack = new AsyncDisposableStack();
    const served = await serving(stack, place.path);
    const { child, said, ask } = served;
    const requests = () => said.filter((line) => line.includes('rpc request')).length;
    expect(requests()).to.equal(0);
    child.kill('SIGUSR2');
    await eventually('it says so', () => levelsOf(served).length === 1);
    await ask();
    await eventually('a line of level debug', () => requests() > 0);
    child.kill('SIGUSR2');
    await eventually('it says so again', () => levelsOf(served).length === 2);
    expect(levelsOf(served)).to.deep.equal(['debug', 'warn']);
    const before = requests();
    await ask();
    expect(requests()).to.equal(before);
  });

  it('of fuse-host is another one too', async function () {
    needRoot(this, 'it makes control groups');
    using place = mountPlace();
    mkdirSync(place.at('kubelet'));
    await using host = await startFuseHost(place.path);
    for (const level of ['debug', 'info']) {
      const before = levelsOf(host).length;
      host.child.kill('SIGUSR2');
      await eventually('it says so', () => levelsOf(host).length > before);
      expect(levelsOf(host).at(-1)).to.equal(level);
      expect(await host.client.list()).to.deep.equal([]);
    }
  });

  it('is switched once by what docs/operations.md says, where process 1 is the node’s', async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'tini', 'the first process of a container is');
    const operations = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8');
    const [, script = ''] = /exec POD -- sh -c '([^']*kill -USR2[^']*)'/.exec(operations) ?? [];
    using place = mountPlace();
    await using stack = new AsyncDisposableStack();
    const container = ['unshare', '--mount', 'tini', '-s', '--'];
    const served = await serving(stack, place.path, container);
    execFileSync('nsenter', ['--mount', `--target=${served.child.pid}`, 'sh', '-c', script]);
    await eventually('it says so', () => levelsOf(served).length === 1);
    await served.ask();
    expect(levelsOf(served)).to.deep.equal(['debug']);
  });
});
