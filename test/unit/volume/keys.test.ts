// The rows of the key table: how each value is read, and that the table itself is whole.
import { expect } from 'chai';
import { readVolumeContext } from '../../../src/volume/context.ts';
import { VolumeError } from '../../../src/volume/errors.ts';
import { KEYS, type Key } from '../../../src/volume/keys.ts';

const rows = Object.entries(KEYS) as [Key, (typeof KEYS)[Key]][];

const read = (key: Key, text: string): unknown => KEYS[key].parse(text, key);

describe('the table of keys', () => {
  for (const [key, { meaning, example, types, required }] of rows) {
    it(`${key}: a sentence, an example that it reads, and types that take it`, () => {
      expect(meaning).to.match(/^[A-Z`].*\.$/);
      expect(() => read(key, example)).to.not.throw();
      expect(types).to.not.be.empty;
      expect(types).to.include.members([...required]);
    });
  }

  const values: readonly (readonly [key: Key, text: string, value: unknown])[] = [
    ['type', 'overlay', 'overlay'],
    ['source', '/srv/a b', '/srv/a b'],
    ['source', '/srv/a:b,c', '/srv/a:b,c'],
    ['source', '/srv/..data', '/srv/..data'],
    ['source', '/', '/'],
    ['lowerdir', '/a', [{ path: '/a', dataOnly: false }]],
    [
      'lowerdir',
      '/top:/base',
      [
        { path: '/top', dataOnly: false },
        { path: '/base', dataOnly: false },
      ],
    ],
    ['lowerdir', '/a\\:b', [{ path: '/a:b', dataOnly: false }]],
    ['options', 'noatime,size=64Mi', ['noatime', 'size=64Mi']],
    ['options', '', []],
    ['options', ',noatime,', ['noatime']],
    ['options', '"a,b"', ['a,b']],
    ['uidmap', '0:100000:65536', '0:100000:65536'],
    ['uidmap', '00:0100000:065536', '0:100000:65536'],
    ['gidmap', '0:1000:1,1:0:1', '0:1000:1,1:0:1'],
  ];
  for (const [key, text, value] of values) {
    it(`${key} ${JSON.stringify(text)}`, () => expect(read(key, text)).to.deep.equal(value));
  }

  const refused: readonly (readonly [key: Key, text: string, message: string])[] = [
    ['type', 'ext9', 'type: "ext9" is not one of bind, tmpfs, overlay'],
    ['type', '', 'type: "" is not one of'],
    ['type', 'constructor', 'type: "constructor" is not one of'],
    ['source', 'srv', 'source: "srv" is not an absolute path'],
    ['source', '/srv/../etc', 'source: "/srv/../etc" must not contain ..; write the path that is meant'],
    ['source', '/srv/..', 'source: "/srv/.." must not contain ..'],
    ['source', '/a\nb', 'source: "/a\\nb" has a control character in it'],
    ['source', '/a\0', 'source: "/a\\u0000" has a control character in it'],
    ['source', '/a\x7f', 'source: "/a\x7f" has a control character in it'],
    ['upperdir', 'u', 'upperdir: "u" is not an absolute path'],
    ['workdir', 'w', 'workdir: "w" is not an absolute path'],
    ['lowerdir', '', 'lowerdir: "": an empty path'],
    ['lowerdir', '/a:b', 'lowerdir: layer "b" is not an absolute path'],
    ['lowerdir', '/a:/b/../c', 'lowerdir: layer "/b/../c" must not contain ..'],
    ['lowerdir', '/a::/b', 'lowerdir: data-only layer "/b": whoever writes a layer above could read'],
    // An escaped separator does not hide what is in the path.
    ['lowerdir', '/a\\:/../etc', 'lowerdir: layer "/a:/../etc" must not contain ..'],
    ['options', '"open', 'options: "\\"open": a quotation mark is not closed'],
    ['uidmap', '0', 'uidmap: "0" is not three decimal numbers; write container:host:size'],
    ['gidmap', '0:0:0', 'gidmap: "0:0:0" has a size of 0'],
  ];
  for (const [key, text, message] of refused) {
    it(`${key} ${JSON.stringify(text)} is refused, the key named once`, () => {
      expect(() => read(key, text))
        .to.throw(VolumeError)
        .with.property('message')
        .that.satisfies((said: string) => said.startsWith(message), message);
    });
  }

  it('every type can be made from the examples of its keys', () => {
    for (const type of KEYS.type.types) {
      const context = Object.fromEntries(
        rows
          .filter(([, row]) => (row.types as readonly string[]).includes(type))
          .map(([key, row]) => [key, row.example]),
      );
      expect(readVolumeContext({ ...context, type }, []).type).to.equal(type);
    }
  });
});
