// SIGUSR2 makes a running plugin say more, and again as much as it was told to.
import { expect } from 'chai';
import { connect } from '../../src/rpc/client.ts';
import { NodeService } from '../../src/rpc/generated/csi.ts';
import { eventually, mountPlace } from '../support/fixtures.ts';
import { needRoot } from '../support/need.ts';
import { flagsOf, serve } from './serve.ts';

describe('the log level of a running plugin', () => {
  it('is debug after SIGUSR2, and the configured one after another', async function () {
    needRoot(this, 'the plugin mounts');
    using place = mountPlace();
    const served = serve([...flagsOf(place.path), '--log-level', 'warn']);
    const { child, said } = served;
    const levels = () =>
      said.filter((line) => line.includes('SIGUSR2')).map((line) => JSON.parse(line).logLevel);
    const requests = () => said.filter((line) => line.includes('rpc request')).length;
    await using stack = new AsyncDisposableStack();
    stack.defer(async () => {
      child.kill('SIGTERM');
      await served.ended;
    });
    using node = connect(NodeService, place.at('csi.sock'));
    const ask = () => node.nodeGetInfo({}, { timeoutMs: 1_000 }).then(Boolean, () => false);
    let answers = false;
    while (!answers && child.exitCode === null) answers = await ask();
    expect(requests()).to.equal(0);
    child.kill('SIGUSR2');
    await eventually('it says so', () => levels().length === 1);
    await ask();
    await eventually('a line of level debug', () => requests() > 0);
    child.kill('SIGUSR2');
    await eventually('it says so again', () => levels().length === 2);
    expect(levels()).to.deep.equal(['debug', 'warn']);
    const before = requests();
    await ask();
    expect(requests()).to.equal(before);
  });
});
