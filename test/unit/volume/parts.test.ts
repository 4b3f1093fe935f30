// The key `mounts`: JSON that stands for several mounts.
import { expect } from 'chai';
import fc from 'fast-check';
import { readVolumeContext } from '../../../src/volume/context.ts';
import { VolumeError } from '../../../src/volume/errors.ts';
import { hasControl } from '../../../src/volume/parse.ts';
import type { MountsVolume } from '../../../src/volume/volume.ts';

const ROOT = { source: '/srv' };

function read(mounts: unknown): MountsVolume['parts'] {
  const text = typeof mounts === 'string' ? mounts : JSON.stringify(mounts);
  return (readVolumeContext({ mounts: text }) as MountsVolume).parts;
}

describe('the key mounts', () => {
  const targets: readonly (readonly [given: string, target: string])[] = [
    ['b', 'b'],
    ['/b', 'b'],
    ['b/', 'b'],
    ['//b///c//', 'b/c'],
    ['./b/./c', 'b/c'],
    ['..b', '..b'],
    ['a b,c:d', 'a b,c:d'],
  ];
  for (const [given, target] of targets) {
    it(`target ${JSON.stringify(given)} is ${target} below the root`, () => {
      expect(read([ROOT, { ...ROOT, target: given }])[1]?.target).to.equal(target);
    });
  }

  for (const target of [undefined, '', '/', '.', './', '//']) {
    it(`target ${JSON.stringify(target)} of the first one is the root`, () => {
      expect(read([{ ...ROOT, target }])[0]?.target).to.equal('');
    });
  }

  it('options are text as in a volume context, or a list of them', () => {
    const options = (given: unknown) => read([{ ...ROOT, options: given }])[0]?.volume.options;
    expect(options('noatime,nosuid')).to.deep.equal(['noatime', 'nosuid']);
    expect(options(['noatime', 'nosuid'])).to.deep.equal(['noatime', 'nosuid']);
    expect(options(['a=b,c', 'd'])).to.deep.equal(['a=b,c', 'd']);
    expect(options([])).to.deep.equal([]);
  });

  it('a list of options is read as it is given, or refused', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ minLength: 1 })), (given) => {
        // Extents of a mapping go to the option before them: not what this is about.
        if (given.some((one) => /^\d/.test(one))) return;
        try {
          expect(read([{ ...ROOT, options: given }])[0]?.volume.options).to.deep.equal(given);
        } catch (error) {
          expect(error).to.be.instanceOf(VolumeError);
          expect(hasControl(given.join()) || /["\\]/.test(given.join())).to.equal(true);
        }
      }),
    );
  });

  it('what is mounted in a mount comes after it', () => {
    const parts = read([
      ROOT,
      { ...ROOT, target: 'a' },
      { ...ROOT, target: 'a/b' },
      { ...ROOT, target: 'ab' },
    ]);
    expect(parts.map(({ target }) => target)).to.deep.equal(['', 'a', 'a/b', 'ab']);
  });

  const refused: readonly (readonly [mounts: unknown, field: string, message: string])[] = [
    ['{', 'mounts', 'is no JSON: '],
    ['', 'mounts', 'is no JSON: '],
    ['{}', 'mounts', 'is no array; write a JSON array such as [{"source":"/srv/a"}'],
    ['null', 'mounts', 'is no array; '],
    ['[]', 'mounts', 'has 0 mounts, 1 to 64 are allowed; '],
    [Array.from({ length: 65 }, () => ROOT), 'mounts', 'has 65 mounts, 1 to 64 are allowed; '],
    [['/srv'], 'mounts[0]', 'is no JSON object; write {"source": "/srv/data"}'],
    [[null], 'mounts[0]', 'is no JSON object'],
    [[ROOT, []], 'mounts[1]', 'is no JSON object'],
    [[{}], 'mounts[0].source', 'is required for type bind'],
    [[{ sourc: '/a' }], 'mounts[0].sourc', 'no such key of a mount; did you mean source?'],
    [[{ ...ROOT, '': '/a' }], 'mounts[0].', 'no such key of a mount; the keys are target, type, source,'],
    ['[{"__proto__":"/a"}]', 'mounts[0].__proto__', 'no such key of a mount; '],
    [[{ mounts: '[]' }], 'mounts[0].mounts', 'no such key of a mount; '],
    [
      [{ ...ROOT, owner: '1' }],
      'mounts[0].owner',
      'no such key of a mount; it belongs to a volume of one mount',
    ],
    [[{ ...ROOT, idmap: 'pod' }], 'mounts[0].idmap', 'no such key of a mount; it belongs to a volume of one'],
    [[{ source: 7 }], 'mounts[0].source', 'is no string; put it in quotes'],
    [
      [{ ...ROOT, options: [7] }],
      'mounts[0].options',
      'is no string, nor an array of strings without quotes',
    ],
    [[{ ...ROOT, options: ['"'] }], 'mounts[0].options', 'is no string, nor an array of strings without'],
    [[{ ...ROOT, options: 'a\0' }], 'mounts[0].options', '"a\\u0000" has a control character in it'],
    [[ROOT, { source: 'srv' }], 'mounts[1].source', '"srv" is not an absolute path'],
    [[ROOT, { ...ROOT, type: 'tmpfs' }], 'mounts[1].source', 'has no meaning for type tmpfs'],
    [[{ ...ROOT, uidmap: '0:0:1' }], 'mounts[0].gidmap', 'missing: an ID mapping needs uidmap and gidmap'],
    [
      [{ type: 'overlay', lowerdir: '/a', writable: 'ephemeral' }],
      'mounts[0].writable',
      'ephemeral belongs to a volume of one overlay; use the keys, without mounts',
    ],
    [[{ ...ROOT, target: 'a' }], 'mounts[0].target', 'the first mount is the root of the volume; leave its'],
    [[ROOT, ROOT], 'mounts[1].target', '"" is taken by an earlier mount'],
    [
      [ROOT, { ...ROOT, target: 'a' }, { ...ROOT, target: '/a/' }],
      'mounts[2].target',
      '"a" is taken by an earlier mount',
    ],
    [
      [ROOT, { ...ROOT, target: 'a/b' }, { ...ROOT, target: 'a' }],
      'mounts[2].target',
      '"a" would hide the mount at a/b; put it before',
    ],
    [
      [ROOT, { ...ROOT, target: '../a' }],
      'mounts[1].target',
      '"../a" must be a path below the root, without ..',
    ],
    [
      [ROOT, { ...ROOT, target: 'a/../../b' }],
      'mounts[1].target',
      '"a/../../b" must be a path below the root',
    ],
    [[ROOT, { ...ROOT, target: 'a\0' }], 'mounts[1].target', '"a\\u0000" must be a path below the root'],
    [[ROOT, { ...ROOT, target: 7 }], 'mounts[1].target', 'is no string'],
  ];
  for (const [mounts, field, message] of refused) {
    const text = typeof mounts === 'string' ? mounts : JSON.stringify(mounts);
    it(`${text.slice(0, 60)}: ${field} ${message}`, () => {
      expect(() => read(mounts))
        .to.throw(VolumeError, `${field}: ${message}`)
        .with.property('field', field);
    });
  }

  it('no target leads out of the root or hides an earlier one, whatever is given', () => {
    const name = fc.constantFrom('', '.', '..', 'a', 'b', '/', 'a/b', '..a', '\n');
    const path = fc.array(name, { maxLength: 4 }).map((names) => names.join('/'));
    fc.assert(
      fc.property(fc.array(path, { maxLength: 4 }), (given) => {
        let parts: MountsVolume['parts'];
        try {
          parts = read([ROOT, ...given.map((target) => ({ ...ROOT, target }))]);
        } catch (error) {
          expect(error).to.be.instanceOf(VolumeError);
          return;
        }
        const [root, ...below] = parts.map(({ target }) => target);
        expect(root).to.equal('');
        for (const [i, target] of below.entries()) {
          expect(target).to.match(/^[^/\n]+(\/[^/\n]+)*$/);
          expect(target.split('/')).to.not.include.oneOf(['..', '.']);
          expect(below.slice(0, i).filter((other) => `${other}/`.startsWith(`${target}/`))).to.be.empty;
        }
      }),
    );
  });
});
