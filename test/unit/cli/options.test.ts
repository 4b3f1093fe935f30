// How commands read a Mount from their arguments.
import { expect } from 'chai';
import { InvalidArgumentError } from 'commander';
import { collectOptions, mountOf } from '../../../src/cli/options.ts';

describe('-o', () => {
  it('is a comma-separated list, and may be repeated', () => {
    const first = collectOptions('ro,noatime');
    expect(first).to.deep.equal(['ro', 'noatime']);
    expect(collectOptions('rw', first)).to.deep.equal(['ro', 'noatime', 'rw']);
    expect(first, 'the list before').to.deep.equal(['ro', 'noatime']);
  });

  it('keeps the extents of a mapping together, and what is in quotes', () => {
    expect(collectOptions('uidmap=0:1:1,1:0:1,gidmap=0:1:1')).to.deep.equal([
      'uidmap=0:1:1,1:0:1',
      'gidmap=0:1:1',
    ]);
    expect(collectOptions('context="a,b"')).to.deep.equal(['context=a,b']);
  });

  it('with a quotation mark left open is an argument that commander refuses', () => {
    expect(() => collectOptions('a="b')).to.throw(InvalidArgumentError, /not closed/);
  });
});

describe('the mount of a command', () => {
  it('has the type of -t, whatever the options', () => {
    const mount = { type: 'tmpfs', source: 'x', options: ['size=1m'] };
    expect(mountOf('x', { types: 'tmpfs', options: ['size=1m'] })).to.deep.equal(mount);
  });

  for (const option of ['bind', 'rbind']) {
    it(`is a bind by -o ${option}`, () => {
      const options = ['ro', option];
      expect(mountOf('/srv', { options })).to.deep.equal({ type: 'bind', source: '/srv', options });
    });
  }

  it('has the type that its image holds otherwise, as with mount(8)', () => {
    expect(mountOf('/s', {})).to.deep.equal({ type: 'auto', source: '/s', options: [] });
  });
});
