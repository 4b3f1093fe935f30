// One operation at a time per volume, and per path.
import { expect } from 'chai';
import { volumeLocks } from '../../../src/node/locks.ts';
import { NodeError } from '../../../src/node/reasons.ts';

describe('the locks of volumes', () => {
  it('a second operation on a volume is refused, not queued, wherever it is', () => {
    const locks = volumeLocks();
    using _lock = locks.take('volume', '/a');
    for (const path of ['/a', '/b']) {
      expect(() => locks.take('volume', path))
        .to.throw(NodeError, 'another operation on volume volume is at work')
        .with.property('reason', 'operation-pending');
    }
  });

  it('a second operation on a path is refused, whichever volume it is for', () => {
    const locks = volumeLocks();
    using _lock = locks.take('volume', '/a');
    expect(() => locks.take('other', '/a'))
      .to.throw(NodeError, 'another operation on path /a is at work')
      .with.property('reason', 'operation-pending');
  });

  it('other volumes and paths are not concerned, however they are called', () => {
    const locks = volumeLocks();
    using _lock = locks.take('volume', '/a');
    using _other = locks.take('volume2', '/a/b');
    using _strange = locks.take('__proto__', '/constructor');
    using _alike = locks.take('/a', 'volume');
  });

  it('after it is let go of it can be taken again', () => {
    const locks = volumeLocks();
    for (let i = 0; i < 3; i++) {
      using _lock = locks.take('volume', '/a');
      expect(() => locks.take('volume', '/b')).to.throw(NodeError);
      expect(() => locks.take('other', '/a')).to.throw(NodeError);
    }
  });

  it('it is let go of by an operation that fails', () => {
    const locks = volumeLocks();
    const failing = () => {
      using _lock = locks.take('volume', '/a');
      throw new Error('failed');
    };
    expect(failing).to.throw('failed');
    expect(failing).to.throw('failed');
  });

  it('a refused operation lets go of nothing, and holds nothing', () => {
    const locks = volumeLocks();
    using _lock = locks.take('volume', '/a');
    for (let i = 0; i < 2; i++) {
      expect(() => locks.take('volume', '/b')).to.throw(NodeError);
      expect(() => locks.take('other', '/a')).to.throw(NodeError);
    }
    using _other = locks.take('other', '/b');
  });

  it('two sets of locks know nothing of each other', () => {
    using _lock = volumeLocks().take('volume', '/a');
    using _other = volumeLocks().take('volume', '/a');
  });
});
