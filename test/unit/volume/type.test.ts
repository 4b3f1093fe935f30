// The value of the key `type`, and the kind of volume that it stands for.
import { expect } from 'chai';
import { VolumeError } from '../../../src/volume/errors.ts';
import { parseType } from '../../../src/volume/type.ts';

describe('a type', () => {
  const named: readonly (readonly [name: string, kind: string, helper?: string])[] = [
    ['bind', 'bind'],
    ['tmpfs', 'tmpfs'],
    ['overlay', 'overlay'],
    ['image', 'image'],
    ['fuse.sshfs', 'fuse', 'sshfs'],
    ['fuse3.fuse-overlayfs', 'fuse', 'fuse-overlayfs'],
    ['fuse.mount.s3_2+x', 'fuse', 'mount.s3_2+x'],
    ['ext4', 'filesystem'],
    ['nfs', 'filesystem'],
    // No names of properties of an object.
    ['constructor', 'filesystem'],
  ];
  for (const [name, kind, helper] of named) {
    it(`${name} is of kind ${kind}`, () => {
      expect(parseType(name, 'type')).to.deep.equal({ name, kind, ...(helper && { helper }) });
    });
  }

  const refused: readonly (readonly [name: string, remedy: RegExp])[] = [
    ['', /write bind, tmpfs, overlay, image, fuse\.HELPER/],
    ['Bind', /write bind/],
    ['ext-4', /such as ext4/],
    ['fuse', /fuse\.HELPER/],
    ['fuseblk', /fuse\.HELPER/],
    ['fuse.', /fuse\.HELPER/],
    ['fuse4.sshfs', /fuse3\.HELPER/],
    ['fuse./bin/sh', /fuse\.HELPER/],
    ['fuse.-o', /fuse\.HELPER/],
    ['fuse..', /fuse\.HELPER/],
    ['fuse.a\nb', /fuse\.HELPER/],
    [`fuse.${'a'.repeat(64)}`, /fuse\.HELPER/],
    ['a'.repeat(32), /write bind/],
    // The engine takes these for something else than a filesystem of that name.
    ['rbind', /write bind$/],
    ['auto', /write image/],
    ['none', /write bind/],
  ];
  for (const [name, remedy] of refused) {
    it(`${JSON.stringify(name)} is refused with what to write`, () => {
      expect(() => parseType(name, 'type'))
        .to.throw(VolumeError, remedy)
        .with.property('message')
        .that.satisfies((said: string) => said.startsWith(`type: ${JSON.stringify(name)} is no type; `));
    });
  }
});
