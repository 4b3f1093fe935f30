// Many descriptors closed at once: those, and none that lies between them.
import { existsSync, openSync } from 'node:fs';
import { expect } from 'chai';
import { closeAll } from '../../../src/sys/close-all.ts';
import { Fd } from '../../../src/sys/fd.ts';

const open = () => new Fd(openSync('/', 'r'));
const isOpen = (number: number) => existsSync(`/proc/self/fd/${number}`);

describe('closeAll', () => {
  it('closes all of them, in whatever order', () => {
    const fds = Array.from({ length: 20 }, open);
    const numbers = fds.map(({ number }) => number);
    closeAll(fds.toReversed());
    expect(numbers.filter(isOpen)).to.deep.equal([]);
    expect(fds.map(({ isOpen }) => isOpen)).to.not.include(true);
  });

  it('leaves those between them open', () => {
    const fds = Array.from({ length: 20 }, open);
    const [kept, closed] = [fds.filter((_, i) => i % 5 === 2), fds.filter((_, i) => i % 5 !== 2)];
    closeAll(closed);
    expect(kept.map(({ number }) => isOpen(number))).to.not.include(false);
    closeAll(kept);
    expect(kept.map(({ isOpen }) => isOpen)).to.not.include(true);
  });

  it('closes none twice: what has the number of one by then stays open', () => {
    const fds = Array.from({ length: 3 }, open);
    const [first] = fds;
    const { number } = first as Fd;
    first?.[Symbol.dispose]();
    using other = open();
    expect(other.number).to.equal(number);
    closeAll(fds);
    expect(isOpen(other.number)).to.equal(true);
  });

  it('takes none', () => closeAll([]));
});
