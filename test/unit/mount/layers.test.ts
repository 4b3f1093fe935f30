// lowerdir as text.
import { expect } from 'chai';
import fc from 'fast-check';
import { MountError } from '../../../src/mount/errors.ts';
import { commonParent, escapeLayer, parseLowerdir, unescapePath } from '../../../src/mount/layers.ts';

describe('parseLowerdir', () => {
  const accepted: readonly [text: string, paths: readonly string[], dataOnly?: readonly string[]][] = [
    ['/a', ['/a']],
    ['/a:/b:/c', ['/a', '/b', '/c']],
    ['/a\\:b:/c', ['/a:b', '/c']],
    ['/a\\,b', ['/a,b']],
    ['/a\\\\b', ['/a\\b']],
    ['/a\\', ['/a\\']],
    ['/a b:/ä ', ['/a b', '/ä ']],
    ['relative:./x', ['relative', './x']],
    ['/a::/d', ['/a'], ['/d']],
    ['/a:/b::/d::/e', ['/a', '/b'], ['/d', '/e']],
  ];
  for (const [text, layers, dataOnly = []] of accepted) {
    it(`reads ${text}`, () => {
      expect(parseLowerdir(text, 'lowerdir')).to.deep.equal([
        ...layers.map((path) => ({ path, dataOnly: false })),
        ...dataOnly.map((path) => ({ path, dataOnly: true })),
      ]);
    });
  }

  const refused: readonly [text: string, why: string][] = [
    ['', 'an empty path'],
    [':', 'an empty path'],
    ['/a:', 'an empty path'],
    [':/a', 'an empty path'],
    ['::/d', 'an empty path'],
    ['/a::', 'an empty path'],
    ['/a:::/b', 'an empty path'],
    ['/a::/d:/b', 'a layer cannot follow data-only layers'],
  ];
  for (const [text, why] of refused) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseLowerdir(text, 'lowerdir'))
        .to.throw(MountError, `lowerdir ${JSON.stringify(text)}: ${why}`)
        .that.includes({ reason: 'invalid-mount', rolledBack: true });
    });
  }
});

/** Paths with what lowerdir gives a meaning to, and with anything. */
const path = fc.oneof(
  fc.string({ unit: fc.constantFrom('/', 'a', ':', '\\', ',', ' ', '"', '='), minLength: 1 }),
  fc.string({ unit: 'grapheme', minLength: 1 }),
);

describe('commonParent', () => {
  const parents: readonly [parent: string, directories: readonly string[]][] = [
    ['/a', ['/a/x', '/a/y']],
    ['/a', ['/a/x', '/a/b/y']],
    ['/', ['/a', '/b/c']],
    ['/', ['/ab', '/a']],
    ['a', ['a/x', 'a/b/y']],
    ['.', ['a', 'b']],
    ['.', ['../a', 'b']],
    ['.', ['a', '/b']],
  ];
  for (const [parent, directories] of parents) {
    it(`of ${directories.join(', ')} is ${parent}`, () => expect(commonParent(directories)).to.equal(parent));
  }
});

describe('escaped layers', () => {
  it('are read back, whatever their characters and number', () => {
    fc.assert(
      fc.property(fc.array(path, { minLength: 1, maxLength: 8 }), (paths) => {
        const text = paths.map(escapeLayer).join(':');
        expect(parseLowerdir(text, 'l')).to.deep.equal(paths.map((p) => ({ path: p, dataOnly: false })));
      }),
    );
  });

  it('are read back behind a double colon', () => {
    fc.assert(
      fc.property(path, fc.array(path, { minLength: 1, maxLength: 4 }), (lower, data) => {
        const layers = parseLowerdir([lower, ...data].map(escapeLayer).join('::'), 'l');
        expect(layers).to.deep.equal([
          { path: lower, dataOnly: false },
          ...data.map((p) => ({ path: p, dataOnly: true })),
        ]);
      }),
    );
  });

  it('lose nothing in upperdir and workdir, which have no separator', () => {
    fc.assert(fc.property(path, (p) => void expect(unescapePath(escapeLayer(p))).to.equal(p)));
    expect(unescapePath('/a\\,b\\\\c\\:d')).to.equal('/a,b\\c:d');
  });
});
