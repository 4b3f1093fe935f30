// Which known name a misspelt one stands for.
import { expect } from 'chai';
import fc from 'fast-check';
import { KEYS } from '../../../src/volume/keys.ts';
import { nearest } from '../../../src/volume/nearest.ts';

const KNOWN = Object.keys(KEYS);

describe('nearest', () => {
  const meant: readonly (readonly [written: string, meant: string])[] = [
    ['sourc', 'source'],
    ['soruce', 'source'],
    ['Source', 'source'],
    ['SOURCE', 'source'],
    ['lowerDir', 'lowerdir'],
    ['lower_dir', 'lowerdir'],
    ['lowerdirs', 'lowerdir'],
    ['upperdri', 'upperdir'],
    // Short beside what it stands for, and as far from a shorter name.
    ['upper', 'upperdir'],
    ['work', 'workdir'],
    ['option', 'options'],
    ['uidMap', 'uidmap'],
    ['guidmap', 'uidmap'],
    ['tpye', 'type'],
  ];
  for (const [written, name] of meant) {
    it(`${written}: ${name}`, () => expect(nearest(written, KNOWN)).to.equal(name));
  }

  for (const far of ['compression', 'encryption', 'x', '', 'readOnlyRootFilesystem']) {
    it(`${JSON.stringify(far)}: none is near`, () => expect(nearest(far, KNOWN)).to.equal(undefined));
  }

  it('none of nothing', () => expect(nearest('source', [])).to.equal(undefined));

  it('a name itself, in any case, is nearest to itself', () => {
    fc.assert(
      fc.property(fc.constantFrom(...KNOWN), fc.boolean(), (name, upper) => {
        expect(nearest(upper ? name.toUpperCase() : name, KNOWN)).to.equal(name);
      }),
    );
  });

  it('one letter too many, in any place, is forgiven', () => {
    fc.assert(
      fc.property(fc.constantFrom(...KNOWN), fc.nat(8), fc.constantFrom(...'qz_7'), (name, at, letter) => {
        expect(nearest(name.slice(0, at) + letter + name.slice(at), KNOWN)).to.equal(name);
      }),
    );
  });

  it('is one of the known names or none, whatever is written', () => {
    fc.assert(
      fc.property(fc.string(), (written) => {
        expect([...KNOWN, undefined]).to.include(nearest(written, KNOWN));
      }),
    );
  });
});
