// The forms of value: paths, layers, options, mappings, owners, names, quantities.
import { expect } from 'chai';
import fc from 'fast-check';
import { VolumeError } from '../../../src/volume/errors.ts';
import {
  oneOf,
  parseBoolean,
  parseLayers,
  parseMapping,
  parseName,
  parseOptionList,
  parseOwner,
  parsePath,
  parseQuantity,
  parseSource,
} from '../../../src/volume/parse.ts';

const FORMS = {
  oneOf: oneOf('none', 'pod'),
  parseBoolean,
  parseLayers,
  parseMapping,
  parseName,
  parseOptionList,
  parseOwner,
  parsePath,
  parseQuantity,
  parseSource,
} as const;
type Form = keyof typeof FORMS;

const layer = (path: string, dataOnly = false) => ({ path, dataOnly });

describe('values of a volume context', () => {
  const values: readonly (readonly [form: Form, text: string, value: unknown])[] = [
    ['oneOf', 'pod', 'pod'],
    ['parseBoolean', 'true', true],
    ['parseBoolean', 'false', false],
    ['parsePath', '/', '/'],
    ['parsePath', '/srv/a b:,c', '/srv/a b:,c'],
    ['parsePath', '/srv/..data', '/srv/..data'],
    ['parseSource', '/srv', '/srv'],
    ['parseSource', 'me@host:/directory', 'me@host:/directory'],
    ['parseLayers', '/a', [layer('/a')]],
    ['parseLayers', '/top:/base', [layer('/top'), layer('/base')]],
    ['parseLayers', '/a\\:b', [layer('/a:b')]],
    ['parseLayers', '/a::/data', [layer('/a'), layer('/data', true)]],
    ['parseOptionList', 'noatime,size=64m', ['noatime', 'size=64m']],
    ['parseOptionList', '', []],
    ['parseOptionList', ',noatime,', ['noatime']],
    ['parseOptionList', '"a,b"', ['a,b']],
    ['parseMapping', '0:100000:65536', '0:100000:65536'],
    ['parseMapping', '00:0100000:065536', '0:100000:65536'],
    ['parseMapping', '0:1000:1,1:0:1', '0:1000:1,1:0:1'],
    ['parseOwner', '1000', { uid: 1000, gid: undefined }],
    ['parseOwner', '0:4294967294', { uid: 0, gid: 4294967294 }],
    ['parseName', 'data', 'data'],
    ['parseName', '_a.B-9', '_a.B-9'],
  ];
  for (const [form, text, value] of values) {
    it(`${form} ${JSON.stringify(text)}`, () => expect(FORMS[form](text, 'key')).to.deep.equal(value));
  }

  const refused: readonly (readonly [form: Form, text: string, message: string])[] = [
    ['oneOf', 'prod', '"prod" is not one of none, pod; did you mean pod?'],
    ['oneOf', 'constructor', '"constructor" is not one of none, pod'],
    ['parseBoolean', 'True', '"True" is not one of true, false; did you mean true?'],
    ['parseBoolean', '1', '"1" is not one of true, false'],
    ['parsePath', 'srv', '"srv" is not an absolute path'],
    ['parsePath', '', '"" is not an absolute path'],
    ['parsePath', '/srv/../etc', '"/srv/../etc" must not contain ..; write the path that is meant'],
    ['parsePath', '/srv/..', '"/srv/.." must not contain ..'],
    ['parsePath', '/a\nb', '"/a\\nb" has a control character in it'],
    ['parsePath', '/a\0', '"/a\\u0000" has a control character in it'],
    ['parsePath', '/a\x7f', '"/a\x7f" has a control character in it'],
    ['parseSource', '', '"" is empty or has a control character in it'],
    ['parseSource', 'host:\0', '"host:\\u0000" is empty or has a control character in it'],
    ['parseSource', '-oProxyCommand=x', '"-oProxyCommand=x" begins with -, and could be taken for a flag'],
    ['parseSource', '/srv/../etc', '"/srv/../etc" must not contain ..'],
    ['parseLayers', '', '"": an empty path; separate layers by one colon'],
    ['parseLayers', '/a:b', 'layer "b" is not an absolute path'],
    ['parseLayers', '/a:/b/../c', 'layer "/b/../c" must not contain ..'],
    ['parseLayers', '/a::/b/..', 'layer "/b/.." must not contain ..'],
    ['parseLayers', '/a::/b:/c', '"/a::/b:/c": a layer cannot follow data-only layers'],
    // An escaped separator does not hide what is in the path.
    ['parseLayers', '/a\\:/../etc', 'layer "/a:/../etc" must not contain ..'],
    ['parseOptionList', 'a\0b', '"a\\u0000b" has a control character in it'],
    ['parseMapping', '0', '"0" is not three decimal numbers; write container:host:size'],
    ['parseMapping', '0:0:0', '"0:0:0" has a size of 0'],
    ['parseOwner', '', '"" is not uid or uid:gid, such as 1000:1000; ids are 0 to 4294967294'],
    ['parseOwner', 'root', '"root" is not uid or uid:gid'],
    ['parseOwner', '1000:', '"1000:" is not uid or uid:gid'],
    ['parseOwner', '4294967295', '"4294967295" is not uid or uid:gid'],
    ['parseOwner', '0:4294967295', '"0:4294967295" is not uid or uid:gid'],
    ['parseOwner', '0:99999999999', '"0:99999999999" is not uid or uid:gid'],
    ['parseName', '', '"" is no plain name'],
    ['parseName', '.', '"." is no plain name'],
    ['parseName', '..', '".." is no plain name'],
    ['parseName', 'a/b', '"a/b" is no plain name'],
    ['parseName', '-a', '"-a" is no plain name'],
    ['parseName', 'a'.repeat(64), `"${'a'.repeat(64)}" is no plain name: 1 to 63 letters`],
  ];
  for (const [form, text, message] of refused) {
    it(`${form} ${JSON.stringify(text)} is refused: what was given, and what is allowed`, () => {
      expect(() => FORMS[form](text, 'key'))
        .to.throw(VolumeError)
        .with.property('message')
        .that.satisfies((said: string) => said.startsWith(`key: ${message}`), message);
    });
  }

  // The engine's parsers begin their messages with the name of the field.
  const once: readonly (readonly [form: Form, key: string, text: string, message: string])[] = [
    ['parseLayers', 'lowerdir', '/a:', 'lowerdir: "/a:": an empty path'],
    ['parseOptionList', 'options', '"open', 'options: "\\"open": a quotation mark is not closed'],
    ['parseMapping', 'uidmap', '0', 'uidmap: "0" is not three'],
  ];
  for (const [form, key, text, message] of once) {
    it(`${key} is named once`, () => {
      expect(() => FORMS[form](text, key)).to.throw(VolumeError, message);
    });
  }

  it('any text is a value or a VolumeError of the key, in every form', () => {
    for (const [name, parse] of Object.entries(FORMS)) {
      fc.assert(
        fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), (text) => {
          try {
            parse(text, 'key');
          } catch (error) {
            expect(error, name).to.be.instanceOf(VolumeError).with.property('field', 'key');
          }
        }),
      );
    }
  });
});

describe('a quantity', () => {
  const sizes: readonly (readonly [text: string, bytes: number])[] = [
    ['1', 1],
    ['64Mi', 64 * 2 ** 20],
    ['10Gi', 10 * 2 ** 30],
    ['1.5Gi', 1.5 * 2 ** 30],
    ['10G', 10e9],
    ['2k', 2000],
    ['1e3', 1000],
    ['12E6', 12e6],
    // Up, as Kubernetes does.
    ['0.1', 1],
    ['0.1Ki', 103],
    ['7Pi', 7 * 2 ** 50],
  ];
  for (const [text, bytes] of sizes) {
    it(`${text} has ${bytes} bytes`, () => expect(parseQuantity(text, 'size')).to.equal(bytes));
  }

  for (const text of [
    ...['', '0', '0Gi', '0.0', '-1', '+1', ' 1', '1 ', '1.', '.5', '1,5', '1e', '1e99', '8Pi', '1e16'],
    ...['1K', '1KB', '1m', '1Ei', '1gi', '0x10', '1e3Mi', '1_000', '٣', 'Gi', 'NaN', 'Infinity', '1\n'],
  ]) {
    it(`${JSON.stringify(text)} is refused, with an example`, () => {
      expect(() => parseQuantity(text, 'size')).to.throw(VolumeError, /^size: .*is no size; .*such as 64Mi/);
    });
  }

  it('of whole units is that many of them', () => {
    const units = { '': 1, k: 1e3, M: 1e6, G: 1e9, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 };
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4096 }),
        fc.constantFrom(...Object.entries(units)),
        (n, [unit, of]) => {
          expect(parseQuantity(`${n}${unit}`, 'size')).to.equal(n * of);
        },
      ),
    );
  });

  it('is a whole number of bytes, one or more, or none', () => {
    const text = fc.tuple(fc.double({ min: 0, max: 1e6, noNaN: true }), fc.constantFrom('', 'k', 'Mi', 'Gi'));
    fc.assert(
      fc.property(text, ([number, unit]) => {
        const given = `${number.toFixed(3)}${unit}`;
        if (Number(number.toFixed(3)) === 0) return;
        expect(parseQuantity(given, 'size'), given).to.satisfy(
          (bytes: number) => Number.isSafeInteger(bytes) && bytes >= 1,
        );
      }),
    );
  });
});
