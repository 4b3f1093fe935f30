// What the bundle is like as text: V8 keeps that in memory for as long as a process lives.
import { expect } from 'chai';
import { type BuildResult, stop } from 'esbuild';
import { bundle } from '../../scripts/bundle.ts';

const LONGEST_LINE = 1_000;

describe('the bundle', () => {
  let outputs: BuildResult<{ metafile: true }>['metafile']['outputs'];
  let texts: Map<string, string>;

  before(async () => {
    const { metafile, outputFiles = [] } = await bundle({ write: false });
    ({ outputs } = metafile);
    const code = outputFiles.filter(({ path }) => path.endsWith('.mjs'));
    texts = new Map(code.map(({ path, text }) => [path, text]));
  });
  // The process that bundles.
  after(stop);

  it('is text of one byte a character', () => {
    expect(texts).not.to.have.property('size', 0);
    const others = [...texts].filter(([, text]) => /[^\p{ASCII}]/u.test(text));
    expect(others.map(([path]) => path)).to.deep.equal([]);
  });

  it('has no comments, and yet lines and the names of functions, for stack traces', () => {
    const all = [...texts.values()].join('\n');
    expect(all).not.to.match(/^\s*\/\/ /m);
    expect(all).to.match(/function\s+keepHeapSmall\(/);
    expect(Math.max(...all.split('\n').map(({ length }) => length))).to.be.below(LONGEST_LINE);
  });

  it('has zod without the languages that its messages come in', () => {
    const inputs = Object.values(outputs).flatMap((output) =>
      Object.entries(output.inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0),
    );
    const zod = inputs.map(([path]) => path).filter((path) => path.includes('/zod/'));
    expect(zod.filter((path) => path.endsWith('/schemas.js'))).not.to.be.empty;
    expect(zod.filter((path) => /\/locales\/(?!en\.js)/.test(path))).to.deep.equal([]);
  });
});
