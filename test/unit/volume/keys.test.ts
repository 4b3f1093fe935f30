// That the table of keys is whole: what it says of each key holds for the code that reads it.
import { expect } from 'chai';
import { readVolumeContext, type VolumeContext } from '../../../src/volume/context.ts';
import { VolumeError } from '../../../src/volume/errors.ts';
import { KEYS, type Key, MOUNTS_KEY } from '../../../src/volume/keys.ts';
import type { VolumeKind } from '../../../src/volume/volume.ts';

type SingleKind = Exclude<VolumeKind, 'mounts'>;

const rows = Object.entries(KEYS) as [Key, (typeof KEYS)[Key]][];

/** A type of each kind, and keys without which it is no volume. */
const LEAST: Readonly<Record<SingleKind, VolumeContext>> = {
  bind: { type: 'bind', source: '/srv' },
  tmpfs: { type: 'tmpfs' },
  overlay: { type: 'overlay', lowerdir: '/a' },
  image: { type: 'image', source: '/srv/a.img' },
  filesystem: { type: 'ext4', source: '/dev/vdb' },
  fuse: { type: 'fuse.bindfs', source: '/srv' },
};
const kinds = Object.keys(LEAST) as SingleKind[];

/** What a key needs beside it. */
const BESIDE: Readonly<Partial<Record<Key, VolumeContext>>> = {
  upperdir: { workdir: '/w' },
  workdir: { upperdir: '/u' },
  uidmap: { gidmap: '0:0:1' },
  gidmap: { uidmap: '0:0:1' },
  nestedDir: { idmap: 'pod' },
  mkfs: { size: '1Gi' },
  size: { mkfs: 'true' },
  sizeLimit: { writable: 'ephemeral' },
};

describe('the table of keys', () => {
  for (const [key, { meaning, example, pattern, kinds: takers, required, parse }] of rows) {
    it(`${key}: a sentence, an example that it reads, and kinds that take it`, () => {
      expect(meaning).to.match(/^[A-Z`].*\.$/);
      expect(() => parse(example, key)).to.not.throw();
      expect(example).to.match(new RegExp(pattern, 'u'));
      expect(takers).to.not.be.empty;
      expect(takers).to.include.members([...required]);
    });
  }

  for (const kind of kinds) {
    it(`${kind}: takes the keys that list it, and refuses all others by name`, () => {
      for (const [key, { kinds: takers, example }] of rows) {
        if (key === 'type') continue;
        const beside = kind === 'tmpfs' && key === 'sizeLimit' ? {} : BESIDE[key];
        const context = { ...LEAST[kind], ...beside, [key]: LEAST[kind][key] ?? example };
        const read = () => readVolumeContext(context);
        if (takers.includes(kind)) expect(read(), key).to.have.property('kind', kind);
        else expect(read, key).to.throw(VolumeError, 'has no meaning for type');
      }
    });

    it(`${kind}: is no volume without the keys that it requires`, () => {
      const needs = rows.filter(([, { required }]) => required.includes(kind)).map(([key]) => key);
      expect(Object.keys(LEAST[kind]).toSorted()).to.deep.equal(['type', ...needs].toSorted());
      for (const key of needs) {
        const { [key]: _, ...others } = LEAST[kind];
        expect(() => readVolumeContext(others))
          .to.throw(VolumeError, `is required for type ${LEAST[kind].type}`)
          .with.property('field', key);
      }
    });
  }

  // The JSON schema is made of the patterns: it must not refuse what the driver takes.
  const values: Readonly<Partial<Record<Key, readonly string[]>>> = {
    type: ['bind', 'fuse.a-b.c', 'fuse3.x', 'btrfs', 'nfs4', 'ext4'],
    source: ['/a', 'host:/a', '//server/share'],
    lowerdir: ['/a', '/a:/b', '/a\\:b::/c'],
    options: ['ro', '"a,b",c=d'],
    uidmap: ['0:0:1', '0:1000:1,1:0:1'],
    owner: ['0', '1:2'],
    sizeLimit: ['1', '1.5Gi', '1e9', '10G', '100k'],
    nestedDir: ['a', '_a-b.c'],
    fsType: ['auto', 'iso9660', 'ext2'],
  };
  for (const [key, texts] of Object.entries(values) as [Key, readonly string[]][]) {
    it(`${key}: its pattern takes what its parser does`, () => {
      for (const text of texts) {
        expect(() => KEYS[key].parse(text, key), text).to.not.throw();
        expect(text).to.match(new RegExp(KEYS[key].pattern, 'u'));
      }
    });
  }

  it('the key of several mounts names what cannot be in one, and has an example that it reads', () => {
    const { kind } = readVolumeContext({ [MOUNTS_KEY.name]: MOUNTS_KEY.example });
    expect(kind).to.equal('mounts');
    for (const [key, { example }] of rows) {
      const one = JSON.stringify([{ ...LEAST.bind, [key]: example }]);
      const isNamed = MOUNTS_KEY.meaning.includes(`\`${key}\``);
      if (isNamed && key !== 'writable') {
        expect(() => readVolumeContext({ mounts: one }), key).to.throw(VolumeError, 'no such key of a mount');
      } else if (KEYS[key].kinds.includes('bind') && BESIDE[key] === undefined && key !== 'type') {
        expect(readVolumeContext({ mounts: one }), key).to.have.property('kind', 'mounts');
      }
    }
  });
});
