// Our proto/csi.proto against the descriptor in the CSI specification's own Go module, leaf by leaf.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import * as csi from '../../../src/rpc/generated/csi.ts';
import { messages } from '../../../src/rpc/generated/secrets.ts';
import { needTool } from '../../support/need.ts';

const root = join(import.meta.dirname, '../../..');
const run = promisify(execFile);

describe('proto/csi.proto', () => {
  it("says what the specification's Go module says, in every name, number, type and option", async function () {
    this.timeout('10m'); // The first run downloads the module and compiles it.
    needTool(this, 'go', "the reference descriptor is in the CSI specification's Go module");
    const [ours, theirs] = await Promise.all([ourDescriptor(), referenceDescriptor()]);
    expect(theirs.size).to.be.greaterThan(1500);
    expect(differences(ours, theirs)).to.deep.equal([]);
  });

  it('is compared in a way that notices a changed number, a missing field and a lost annotation', async () => {
    const ours = await ourDescriptor();
    const field = 'messageType NodePublishVolumeRequest / field';
    const changed = new Map(ours).set(`${field} target_path / number`, '99');
    for (const key of ours.keys()) if (key.startsWith(`${field} readonly `)) changed.delete(key);
    changed.delete(`${field} secrets / options / [csi.v1.csi_secret]`);
    expect(differences(changed, ours)).to.deep.equal([
      `${field} readonly / jsonName: ours (nothing), reference "readonly"`,
      `${field} readonly / label: ours (nothing), reference "LABEL_OPTIONAL"`,
      `${field} readonly / number: ours (nothing), reference 6`,
      `${field} readonly / type: ours (nothing), reference "TYPE_BOOL"`,
      `${field} secrets / options / [csi.v1.csi_secret]: ours (nothing), reference true`,
      `${field} target_path / number: ours 99, reference 4`,
    ]);
  });
});

describe('generated csi.ts', () => {
  it('keeps an int64 exact up to the largest there is', () => {
    const { CapacityRange } = csi;
    const range = { requiredBytes: 2n ** 63n - 1n, limitBytes: 2n ** 53n + 1n };
    expect(CapacityRange.decode(CapacityRange.encode(range).finish())).to.deep.equal(range);
  });

  it('refuses to encode an int64 that is out of range', () => {
    expect(() => csi.CapacityRange.encode({ requiredBytes: 2n ** 63n, limitBytes: 0n })).to.throw(/int64/);
  });

  it('uses the field names that the table of secrets speaks of', () => {
    const byName = csi as unknown as Record<string, { create(): object } | undefined>;
    const ours = Object.entries(messages).filter(([type]) => type.startsWith('csi.v1.'));
    for (const [type, { secret, nested, oneofs }] of ours) {
      const created = byName[type.replace(/^csi\.v1\./, '').replaceAll('.', '_')]?.create() ?? {};
      // The fields of a oneof are values of its $case, no properties of the message.
      const fields = oneofs.length > 0 ? oneofs : [...secret, ...Object.keys(nested)];
      expect(
        fields.filter((field) => !Object.hasOwn(created, field)),
        type,
      ).to.deep.equal([]);
    }
  });

  it('marks the secrets of every request that has some', () => {
    const marked = Object.entries(messages).filter(([, { secret }]) => secret.length > 0);
    expect(marked.map(([type]) => type)).to.include.members([
      'csi.v1.NodeStageVolumeRequest',
      'csi.v1.NodePublishVolumeRequest',
      'csi.v1.NodeExpandVolumeRequest',
    ]);
    expect(marked.flatMap(([, { secret }]) => secret)).to.deep.equal(marked.map(() => 'secrets'));
  });
});

/** Where a leaf is -> what it is. Named things are known by name, so their order does not matter. */
type Leaves = Map<string, string>;

async function ourDescriptor(): Promise<Leaves> {
  const { stdout } = await run(
    join(root, 'node_modules/.bin/buf'),
    ['build', 'proto', '--as-file-descriptor-set', '--exclude-source-info', '-o', '-#format=json'],
    { cwd: root, maxBuffer: 64 * 1024 * 1024 },
  );
  const set: { file: { name: string }[] } = JSON.parse(stdout);
  return leaves(set.file.find(({ name }) => name === 'csi.proto'));
}

async function referenceDescriptor(): Promise<Leaves> {
  const { stdout } = await run('go', ['run', '.'], {
    cwd: join(root, 'test/peer/csi-descriptors'),
    maxBuffer: 64 * 1024 * 1024,
  });
  return leaves(JSON.parse(stdout));
}

function leaves(descriptor: unknown): Leaves {
  const found: Leaves = new Map();
  flatten(descriptor, [], found);
  // The one intended difference: where Go code would live, which says nothing about the protocol.
  found.delete('options / goPackage');
  return found;
}

function flatten(value: unknown, path: string[], into: Leaves): void {
  if (Array.isArray(value)) {
    for (const [index, item] of value.entries()) {
      const name =
        typeof item === 'object' && item !== null && 'name' in item ? String(item.name) : `#${index}`;
      flatten(item, [...path.slice(0, -1), `${path.at(-1)} ${name}`], into);
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      if (key !== 'name' || path.length === 0) flatten(item, [...path, key], into);
      // A message or method with nothing but its name is a fact, too.
      else into.set(path.join(' / '), 'there');
    }
  } else {
    into.set(path.join(' / '), JSON.stringify(value));
  }
}

function differences(ours: Leaves, theirs: Leaves): string[] {
  return [...new Set([...ours.keys(), ...theirs.keys()])]
    .filter((key) => ours.get(key) !== theirs.get(key))
    .sort()
    .map(
      (key) => `${key}: ours ${ours.get(key) ?? '(nothing)'}, reference ${theirs.get(key) ?? '(nothing)'}`,
    );
}
