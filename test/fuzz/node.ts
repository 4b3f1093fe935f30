// The plugin that damaged input is sent to: the real program over its socket, which may only show what lies in the data
// directory of the test, whatever a damaged path says.
import { readdirSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { connect } from '../../src/rpc/client.ts';
import { IdentityService } from '../../src/rpc/generated/csi.ts';
import { startNode, type TestNode } from '../e2e/node.ts';
import { expectNothingLeft } from '../e2e/specimens.ts';
import { startPlugin } from '../sanity/plugin.ts';
import { eventually, writeFiles } from '../support/fixtures.ts';
import { sparseFile } from '../support/images.ts';

const policyFor = (data: string): string => `version: 1
rules:
  - class: persistent
    types: [bind, tmpfs, overlay, image, fuse.bindfs]
    fsTypes: [ext4, squashfs]
    roots: [{path: ${data}, access: read-write}]
    writable: ['no', ephemeral, persistent]
    sizeLimit: {default: 1Mi, max: 4Mi}
    size: {max: 16Mi}
    idmap: {kinds: [explicit, owner, pod]}
    mkfs: true
    block: true
    helpers: {bindfs: {}}
  - class: inline
    types: [tmpfs, overlay]
    roots: [{path: ${data}, access: read-only}]
    writable: ['no', ephemeral]
    sizeLimit: {default: 1Mi, max: 4Mi}
`;

export const dataOf = (node: TestNode, ...names: string[]): string => node.at('data', ...names);

export async function fuzzedNode(): Promise<TestNode> {
  const node = await startNode({
    start: (directory) => {
      writeFiles(directory, { 'data/a/file': 'a', 'data/b/file': 'b', 'data/upper/': {}, 'data/work/': {} });
      sparseFile(`${directory}/data/image`, 2 ** 20);
      writeFileSync(`${directory}/policy.yaml`, policyFor(`${directory}/data`));
      // What is logged at this level is what nobody foresaw.
      return startPlugin(directory, ['--policy', `${directory}/policy.yaml`, '--log-level', 'error']);
    },
  });
  await expectAnswers(node);
  return node;
}

/** It is there, and not busy with what it was sent. */
export async function expectAnswers({ socket }: TestNode): Promise<void> {
  using client = connect(IdentityService, socket);
  expect((await client.probe({}, { timeoutMs: 30_000 })).ready).to.equal(true);
}

/** The process is the one that was started, has reported no defect, and holds nothing of what it was sent. */
export async function expectUnharmed(node: TestNode, descriptorsBefore: number): Promise<void> {
  await expectAnswers(node);
  expect(node.plugin.log.map(({ text }) => text)).to.deep.equal([]);
  await expectNothingLeft(node);
  // Sockets of clients that have gone.
  await eventually('the descriptors are as before', () => descriptorsOf(node) <= descriptorsBefore + ENGINES);
}

/** The most descriptors that the driver's ends of the engine's processes are, which start when they are needed. */
const ENGINES = 12;

export const descriptorsOf = ({ plugin: { pid } }: TestNode): number => readdirSync(`/proc/${pid}/fd`).length;
