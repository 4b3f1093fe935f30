// A node under attack: the plugin with a policy that gives the authors of pods much, for the tests to find what it does
// not give. Two teams, each with a directory of its own; everything else of the node is out of bounds.
import { mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { VolumeCapability } from '../../src/rpc/generated/csi.ts';
import { startPlugin } from '../sanity/plugin.ts';
import { writeFiles } from '../support/fixtures.ts';
import { type Answer, startNode, type TestNode } from './node.ts';
import { expectRefused } from './refusal.ts';
import { type Context, type Volume, volumeOn } from './volume.ts';

export type Team = 'team-a' | 'team-b';

/** Whatever it is that keeps a volume from being had: the request can only be changed. Not UNKNOWN, INTERNAL and such. */
export const FINAL = [
  ...['INVALID_ARGUMENT', 'PERMISSION_DENIED', 'NOT_FOUND', 'FAILED_PRECONDITION', 'OUT_OF_RANGE'],
] as readonly Answer['code'][];

const policyFor = (directory: string) => `version: 1
rules:
  - name: teams
    class: inline
    namespaces: ['team-*']
    types: ['*']
    fsTypes: ['*', auto]
    roots:
      - path: ${directory}/volumes/\${namespace}
        access: read-write
    readOnlyViewsOnly: false
    writable: ['no', ephemeral, persistent]
    idmap: { kinds: [explicit, owner, pod], onDisk: [0-65535], shown: [1000-1999, 100000-165535] }
    sizeLimit: { default: 4Mi, max: 8Mi }
    mkfs: true
    size: { max: 16Mi }
    maxVolumes: 500
    helpers:
      bindfs: { options: { mirror: '\\d+' } }
      sshfs: { sources: ['files\\.example\\.com:.*'] }
  - name: administrators
    class: persistent
    types: ['*']
    fsTypes: ['*']
    roots:
      - path: ${directory}/volumes
        access: read-write
    writable: ['no', persistent]
`;

export interface AttackedNode extends TestNode {
  /** A path of a team's own directory. */
  of(team: Team, ...names: string[]): string;
  /** An inline volume of a pod of that team. */
  volume(context: Context, team?: Team): Volume;
}

export interface AttackedOptions {
  /** The kubelet's directory is known to the plugin by a symbolic link: `link`. */
  readonly linked?: boolean;
}

export async function attackedNode({ linked = false }: AttackedOptions = {}): Promise<AttackedNode> {
  const node = await startNode({
    start(directory) {
      writeFileSync(join(directory, 'policy.yaml'), policyFor(directory));
      if (linked) symlinkSync('kubelet', join(directory, 'link'));
      const kubelet = linked ? ['--kubelet-dir', join(directory, 'link')] : [];
      return startPlugin(directory, ['--policy', join(directory, 'policy.yaml'), ...kubelet]);
    },
  });
  for (const team of ['team-a', 'team-b']) {
    writeFiles(node.at('volumes', team), {
      ...{ 'dir/file': team, 'dir/x/': {}, 'other/of-other': team, 'upper/': {}, 'work/': {}, file: team },
    });
  }
  writeFiles(node.at('secret'), { file: 'secret', 'dir/file': 'secret', 'upper/': {}, 'work/': {} });
  mkdirSync(node.at('kubelet/pods/another/volumes/token'), { recursive: true });
  writeFileSync(node.at('kubelet/pods/another/volumes/token/file'), 'secret');
  return Object.assign(node, {
    of: (team: Team, ...names: string[]) => node.at('volumes', team, ...names),
    volume: (context: Context, team: Team = 'team-a') =>
      volumeOn(node, { context, inline: true, namespace: team }),
  });
}

export interface Attack {
  readonly team?: Team;
  readonly volumeCapability?: VolumeCapability;
  readonly readonly?: boolean;
}

/** The volume is refused for good, in words, and nothing of it is left. */
export async function expectHeld(
  node: AttackedNode,
  context: Context,
  { team = 'team-a', ...changes }: Attack = {},
): Promise<void> {
  await using volume = node.volume(context, team);
  const { target } = volume;
  const call = () => volume.publish(changes);
  await expectRefused(node, call, { code: FINAL, message: /^[^\n]{10,}$/s, target });
}

/** What stands for a file or directory whatever its name. */
export function identityOf(path: string): string {
  const { dev, ino } = statSync(path);
  return `${dev}:${ino}`;
}

/** The volume is had, and shows this at its root. */
export async function expectShows(node: AttackedNode, context: Context, path: string): Promise<void> {
  await using volume = node.volume(context);
  expect(await volume.publish()).to.include({ code: 'OK' });
  expect(identityOf(volume.target)).to.equal(identityOf(path));
}
