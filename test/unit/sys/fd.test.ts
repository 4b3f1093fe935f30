// The owner of a file descriptor.
import { closeSync, existsSync, openSync } from 'node:fs';
import { expect } from 'chai';
import { describeFd, Fd } from '../../../src/sys/fd.ts';

const open = () => new Fd(openSync('/', 'r'));
const isOpen = (number: number) => existsSync(`/proc/self/fd/${number}`);

describe('Fd', () => {
  it('is closed at the end of the block', () => {
    let number: number;
    {
      using fd = open();
      ({ number } = fd);
      expect(isOpen(number)).to.equal(true);
    }
    expect(isOpen(number)).to.equal(false);
  });

  it('is closed once: what has its number by then stays open', () => {
    const fd = open();
    const { number } = fd;
    fd[Symbol.dispose]();
    using other = open();
    expect(other.number).to.equal(number);
    fd[Symbol.dispose]();
    expect(isOpen(other.number)).to.equal(true);
  });

  it('throws when it is used after it was closed', () => {
    const fd = open();
    fd[Symbol.dispose]();
    expect(() => fd.number).to.throw('is closed');
    expect(() => fd.release()).to.throw('is closed');
  });

  it('leaves a released descriptor open, to whoever has it', () => {
    let number: number;
    {
      using fd = open();
      number = fd.release();
      expect(() => fd.number).to.throw('handed on');
    }
    expect(isOpen(number)).to.equal(true);
    closeSync(number);
  });

  it('shows itself as strace does', () => {
    const fd = open();
    expect(`${fd}`).to.equal(`${fd.number}</>`);
    expect(describeFd(fd.number)).to.equal(`${fd.number}</>`);
    fd[Symbol.dispose]();
    expect(`${fd}`).to.equal('<closed fd>');
    expect(describeFd(99_999)).to.equal('99999');
  });
});
