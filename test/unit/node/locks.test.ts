// One operation at a time per volume.
import { expect } from 'chai';
import { volumeLocks } from '../../../src/node/locks.ts';
import { NodeError } from '../../../src/node/reasons.ts';

describe('the locks of volumes', () => {
  it('a second operation on a volume is refused, not queued', () => {
    const locks = volumeLocks();
    using _lock = locks.take('volume');
    expect(() => locks.take('volume'))
      .to.throw(NodeError, 'another operation on volume volume is at work')
      .with.property('reason', 'operation-pending');
  });

  it('other volumes are not concerned, however they are called', () => {
    const locks = volumeLocks();
    using _lock = locks.take('volume');
    using _other = locks.take('volume2');
    using _strange = locks.take('__proto__');
  });

  it('after it is let go of it can be taken again', () => {
    const locks = volumeLocks();
    for (let i = 0; i < 3; i++) {
      using _lock = locks.take('volume');
      expect(() => locks.take('volume')).to.throw(NodeError);
    }
  });

  it('it is let go of by an operation that fails', () => {
    const locks = volumeLocks();
    const failing = () => {
      using _lock = locks.take('volume');
      throw new Error('failed');
    };
    expect(failing).to.throw('failed');
    expect(failing).to.throw('failed');
  });

  it('a refused operation does not let go of the lock of the other', () => {
    const locks = volumeLocks();
    using _lock = locks.take('volume');
    expect(() => locks.take('volume')).to.throw(NodeError);
    expect(() => locks.take('volume')).to.throw(NodeError);
  });

  it('two sets of locks know nothing of each other', () => {
    using _lock = volumeLocks().take('volume');
    using _other = volumeLocks().take('volume');
  });
});
