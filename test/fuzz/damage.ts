// Valid input with something wrong with it. Pure noise is refused at the first byte; what differs from valid input in one
// place gets as far as there.
import fc from 'fast-check';

/** What parsers are known to stumble over: separators, ends of ranges, names that every object has, broken characters. */
const TELLING = [
  ...[
    '',
    '\0',
    '\n',
    '\r',
    '\t',
    ' ',
    ':',
    '::',
    ',',
    '=',
    '\\',
    '"',
    "'",
    '/',
    '//',
    '..',
    '/../',
    '-',
    '--',
    '*',
  ],
  ...[
    '{',
    '}',
    '[',
    ']',
    '[]',
    '{}',
    'null',
    'true',
    '&a',
    '*a',
    '<<: ',
    '!!js',
    '${namespace}',
    '%00',
    '\\040',
  ],
  ...[
    '0',
    '-1',
    '01',
    '65536',
    '4294967294',
    '4294967295',
    '4294967296',
    '18446744073709551616',
    '1e400',
    'NaN',
  ],
  ...['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype'],
  ...['\ud800', '\udfff', 'é', 'e\u0301', '😀', '\u2028', '\ufeff', '\x7f', '\x1b[31m'],
  ...['A'.repeat(300), 'A,'.repeat(2_500), ':a'.repeat(600), '['.repeat(2_000), '../'.repeat(200)],
];

/** One change of a sequence; places are parts of its length. */
type Edit<T> =
  | { readonly is: 'insert'; readonly at: number; readonly what: T }
  | { readonly is: 'replace'; readonly at: number; readonly until: number; readonly what: T }
  | { readonly is: 'delete'; readonly at: number; readonly until: number }
  | { readonly is: 'repeat'; readonly at: number; readonly until: number }
  | { readonly is: 'end'; readonly at: number };

interface Sequence<S> {
  readonly length: number;
  slice(from: number, to?: number): S;
}

const PLACES = 10_000;
const place = fc.nat(PLACES);
/** Mostly a few characters away. */
const reach = fc.oneof({ weight: 3, arbitrary: fc.nat(12) }, fc.nat(2_000));

function edits<T>(what: fc.Arbitrary<T>): fc.Arbitrary<Edit<T>[]> {
  const one = fc.oneof<fc.Arbitrary<Edit<T>>[]>(
    fc.record({ is: fc.constant('insert' as const), at: place, what }),
    fc.record({ is: fc.constant('replace' as const), at: place, until: reach, what }),
    fc.record({ is: fc.constant('delete' as const), at: place, until: reach }),
    fc.record({ is: fc.constant('repeat' as const), at: place, until: reach }),
    fc.record({ is: fc.constant('end' as const), at: place }),
  );
  return fc.array(one, { maxLength: 4, size: 'max' });
}

function edited<S extends Sequence<S>>(
  whole: S,
  changes: readonly Edit<S>[],
  join: (...pieces: S[]) => S,
): S {
  let now = whole;
  for (const edit of changes) now = changed(now, edit, join);
  return now;
}

function changed<S extends Sequence<S>>(now: S, edit: Edit<S>, join: (...pieces: S[]) => S): S {
  const at = Math.round((edit.at / PLACES) * now.length);
  const before = now.slice(0, at);
  switch (edit.is) {
    case 'insert':
      return join(before, edit.what, now.slice(at));
    case 'replace':
      return join(before, edit.what, now.slice(at + edit.until));
    case 'delete':
      return join(before, now.slice(at + edit.until));
    case 'repeat':
      return join(before, now.slice(at, at + edit.until), now.slice(at));
    case 'end':
      return before;
  }
}

const joinTexts = (...pieces: string[]): string => pieces.join('');
const joinBytes = (...pieces: Buffer[]): Buffer => Buffer.concat(pieces);

/** One of these texts, as it is or with up to four changes; seldom, any text. */
export function damagedText(corpus: readonly string[]): fc.Arbitrary<string> {
  const piece = fc
    .tuple(fc.constantFrom(...corpus), place, reach)
    .map(([text, at, length]) => text.substr(Math.round((at / PLACES) * text.length), length));
  const what = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...TELLING) },
    { weight: 2, arbitrary: piece },
    fc.string({ unit: 'binary', maxLength: 8 }),
    fc.string({ maxLength: 4 }),
  );
  const damaged = fc
    .tuple(fc.constantFrom(...corpus), edits(what))
    .map(([text, changes]) => edited<string>(text, changes, joinTexts));
  return fc.oneof({ weight: 30, arbitrary: damaged }, fc.string({ unit: 'binary' }), fc.string(), fc.json());
}

/** The same of bytes. */
export function damagedBytes(corpus: readonly Uint8Array[]): fc.Arbitrary<Buffer> {
  const buffers = corpus.map((bytes) => Buffer.from(bytes));
  const what = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 1 }),
    fc.uint8Array({ maxLength: 12 }),
    fc.constantFrom(
      ...['00', '01', '7f', '80', 'ff', 'ffffffff', '00000000', '7fffffff', '80000000'].map(hex),
    ),
    // Numbers of protobuf that have no end, and lengths beyond any.
    fc.constantFrom(
      ...['ffffffffffffffffff01', 'ffffffffffffffffffffff', 'ffffffff0f', '0b', '0c', '0f'].map(hex),
    ),
  );
  const damaged = fc
    .tuple(fc.constantFrom(...buffers), edits(what.map((bytes) => Buffer.from(bytes))))
    .map(([bytes, changes]) => edited<Buffer>(bytes, changes, joinBytes));
  const noise = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
  return fc.oneof({ weight: 20, arbitrary: damaged }, noise);
}

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
