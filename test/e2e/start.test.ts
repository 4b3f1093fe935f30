// How the plugin starts and ends: what keeps it from starting, what a signal does, and where it may live.
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { eventually } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { filesIn, KINDS_HERE, type Kind, kindNamed, volumeOfKind } from './kinds.ts';
import { type Answer, startNode, type TestNode } from './node.ts';
import { engineProcesses, flagsOf, isAlive, serve, startPluginBelow } from './serve.ts';
import type { Volume } from './volume.ts';

describe('the start and the end of the plugin', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    node = await startNode();
  });
  after(() => node?.[Symbol.asyncDispose]());

  /** Starts another one, which must refuse. */
  async function expectNoStart(changes: readonly string[], message: string): Promise<void> {
    const { said, ended } = serve([...flagsOf(node.directory), ...changes]);
    expect(await ended).to.equal(1);
    // Its log may come before; the last line is the error, for people.
    expect(said.at(-1)).to.equal(`csi-driver-idmap: ${message}`);
    expect(await node.ask((rpc) => rpc.nodeGetInfo({})), 'the first').to.include({ code: 'OK' });
  }

  it('a second one on the same state refuses, and says what to do', async () => {
    const socket = node.at('second.sock');
    await expectNoStart(
      ['--endpoint', `unix://${socket}`],
      `${node.stateDir} is in use by another driver; stop it, or give this one its own --state-dir`,
    );
    expect(existsSync(socket)).to.equal(false);
  });

  it('a second one on the same socket refuses', () =>
    expectNoStart(
      ['--state-dir', node.at('second-state')],
      `cannot listen on ${node.socket}: another process is listening there`,
    ));

  it('a wrong flag is named', () =>
    expectNoStart(['--log-level', 'loud'], '--log-level "loud": must be one of error, warn, info, debug'));

  it('a state directory that cannot be made is named', async () => {
    writeFileSync(node.at('file'), '');
    const stateDir = node.at('file/state');
    const said = `nothing can be recorded in ${stateDir}/records: ENOTDIR: not a directory, mkdir '${stateDir}/records'`;
    await expectNoStart(['--state-dir', stateDir], said);
    rmSync(node.at('file'));
  });

  it('SIGTERM: exit status 0, no socket, no process, and the volumes stay', async () => {
    const kind = kindNamed('overlay with upperdir, idmapped');
    await using volume = volumeOfKind(node, kind);
    await volume.stage();
    await volume.publish();
    const before = node.mounts();
    const engine = engineProcesses(node.directory);
    expect(await node.plugin.stop()).to.equal(0);
    expect(existsSync(node.socket)).to.equal(false);
    expect(node.mounts()).to.deep.equal(before);
    expect(engine.filter(isAlive), 'processes of its engine').to.deep.equal([]);
    await node.start();
    expect(await volume.publish()).to.include({ code: 'OK' });
  });

  it('SIGINT, by hand: the same', async () => {
    const socket = node.at('second.sock');
    const more = ['--state-dir', node.at('second-state'), '--endpoint', `unix://${socket}`];
    const { child, said, ended } = serve([...flagsOf(node.directory), ...more]);
    await eventually('it is ready', () => said.some((line) => line.includes('"ready"')));
    expect(existsSync(socket)).to.equal(true);
    child.kill('SIGINT');
    expect(await ended).to.equal(0);
    expect(existsSync(socket)).to.equal(false);
  });
});

describe('the plugin in a mount namespace of its own, as in a container', () => {
  let node: TestNode;

  before(async function () {
    needRoot(this, 'the plugin mounts');
    needTool(this, 'unshare', 'a mount namespace for the plugin');
    const wrapper = ['unshare', '--mount', '--propagation', 'unchanged', '--'];
    node = await startNode({ start: (directory) => startPluginBelow(wrapper, directory) });
  });
  after(() => node?.[Symbol.asyncDispose]());

  it('its volumes are seen on the node, known to its successor in another namespace, and taken away by it', async () => {
    await using volumes = new AsyncDisposableStack();
    const all = KINDS_HERE.map((kind) => ({ kind, volume: volumes.use(volumeOfKind(node, kind)) }));
    const forAll = async (call: (volume: Volume, kind: Kind) => Promise<Answer> | undefined) => {
      for (const { kind, volume } of all) {
        const answer = await call(volume, kind);
        if (answer) expect(answer, `${kind.title}: ${answer.message}`).to.include({ code: 'OK' });
      }
    };
    await forAll((volume, { inline }) => (inline ? undefined : volume.stage()));
    await forAll((volume) => volume.publish());
    for (const { kind, volume } of all) expect(filesIn(volume.target), kind.title).to.deep.equal(kind.files);
    const before = node.mounts();
    await node.kill();
    await node.start();
    await forAll((volume, { inline }) => (inline ? undefined : volume.stage()));
    await forAll((volume) => volume.publish());
    await forAll((volume) => volume.stats(volume.target));
    expect(node.mounts(), 'the same mounts').to.deep.equal(before);
    await forAll((volume) => volume.unpublish());
    await forAll((volume, { inline }) => (inline ? undefined : volume.unstage()));
    expect(node.mounts()).to.deep.equal([]);
  });
});
