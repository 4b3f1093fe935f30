// What a helper may do with the file that its output goes to, and what is kept of it then.
import { constants, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import { expect } from 'chai';
import { openOutput } from '../../../src/fuse-host/output.ts';
import { F_ADD_SEALS, F_SEAL } from '../../../src/sys/constants.ts';
import { Fd } from '../../../src/sys/fd.ts';
import { addSeals, ftruncate } from '../../../src/sys/syscalls.ts';

describe('the output of a helper', () => {
  /** As the helper has it. */
  const helpers = (path: string) => new Fd(openSync(path, constants.O_RDWR | constants.O_APPEND));
  const sizeOf = (path: string) => statSync(path, { bigint: true }).size;
  const MOST = 64 * 1024;

  it('is cut off when it has grown, and its end is kept', () => {
    using output = openOutput();
    using own = helpers(output.path);
    writeSync(own.number, `${'x'.repeat(2 * MOST)}\nthe end\n`);
    output.trim();
    expect(sizeOf(output.path)).to.equal(0n);
    writeSync(own.number, 'and more\n');
    expect(output.text()).to.match(/^x{4000,}; the end; and more$/);
  });

  for (const [name, seal] of Object.entries(F_SEAL)) {
    it(`is cut off though the helper has tried ${name}`, () => {
      using output = openOutput();
      using own = helpers(output.path);
      expect(() => addSeals(own, F_ADD_SEALS, seal)).to.throw(/EPERM/);
      writeSync(own.number, 'x'.repeat(2 * MOST));
      output.trim();
      expect(sizeOf(output.path)).to.equal(0n);
    });
  }

  for (const size of [2n ** 40n, 2n ** 53n + 1n, 2n ** 62n, 2n ** 63n - 1n]) {
    it(`is read, and cut off, where the helper has made it ${size} bytes long`, () => {
      using output = openOutput();
      using own = helpers(output.path);
      writeSync(own.number, 'before\n');
      ftruncate(own, size);
      expect(output.text()).to.equal('');
      output.trim();
      expect(sizeOf(output.path)).to.equal(0n);
      writeSync(own.number, 'after\n');
      expect(output.text()).to.equal('after');
    });
  }

  it('takes no more, and no memory, once it is closed', () => {
    using output = openOutput();
    using own = helpers(output.path);
    writeSync(own.number, 'before\n');
    const { blocks } = fstatSync(own.number);
    output.close();
    expect(() => writeSync(own.number, 'more')).to.throw(/EFBIG/);
    expect(fstatSync(own.number).blocks).to.equal(blocks);
  });
});
