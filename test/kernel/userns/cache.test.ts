// User namespaces kept for the next who wants them.
import { expect } from 'chai';
import type { Fd } from '../../../src/sys/fd.ts';
import { type UserNamespaces, userNamespaces } from '../../../src/userns/cache.ts';
import { createUserNamespace } from '../../../src/userns/create.ts';
import { type IdMapping, parseIdMapping, type UserMapping } from '../../../src/userns/mapping.ts';
import { openDescriptors } from '../../support/leaks.ts';
import { needRoot } from '../../support/need.ts';

const ids = (text: string): IdMapping => parseIdMapping(text, 'ids');
const mapped = (host: number): UserMapping => ({ uid: ids(`0:${host}:10`), gid: ids(`0:${host}:10`) });
/** The namespace behind a lease, by the kernel's name for it. */
const nameOf = ({ fd }: { readonly fd: Fd }): string => `${fd}`.replace(/^\d+/, '');
const heldNamespaces = (): number =>
  openDescriptors(process.pid).filter((line) => line.includes('user:[')).length;

describe('userNamespaces()', () => {
  before(function () {
    needRoot(this, 'mapping the ids of others takes CAP_SETUID');
  });

  /** A cache that counts what it makes. */
  function counting(limit: number): { cache: UserNamespaces; made: () => number } {
    let made = 0;
    const create = (mapping: UserMapping) => {
      made++;
      return createUserNamespace(mapping);
    };
    return { cache: userNamespaces({ limit, create }), made: () => made };
  }

  it('makes one for a mapping, at the same time and later', () => {
    const { cache, made } = counting(4);
    using _all = cache;
    const names = new Set<string>();
    for (let i = 0; i < 3; i++) {
      using one = cache.lease(mapped(1000));
      using two = cache.lease(mapped(1000));
      names.add(nameOf(one)).add(nameOf(two));
    }
    expect(made()).to.equal(1);
    expect(names.size).to.equal(1);
  });

  it('takes mappings of one meaning for one, and of different meanings for different ones', () => {
    const { cache, made } = counting(4);
    using _all = cache;
    using whole = cache.lease({ uid: ids('0:1000:10'), gid: ids('0:1000:10') });
    using parts = cache.lease({ uid: ids('5:1005:5,0:1000:5'), gid: ids('0:1000:10') });
    expect(nameOf(parts)).to.equal(nameOf(whole));
    using other = cache.lease({ uid: ids('0:1000:10'), gid: ids('0:2000:10') });
    using turned = cache.lease({ uid: ids('0:2000:10'), gid: ids('0:1000:10') });
    expect(new Set([whole, other, turned].map(nameOf)).size).to.equal(3);
    expect(made()).to.equal(3);
  });

  it('keeps no more than its limit, and lets the one go that was not wanted for longest', () => {
    const { cache, made } = counting(2);
    using _all = cache;
    const want = (host: number) => cache.lease(mapped(host))[Symbol.dispose]();
    const before = heldNamespaces();
    want(1000);
    want(2000);
    want(1000);
    want(3000); // 2000 goes
    expect(heldNamespaces() - before).to.equal(2);
    want(1000);
    want(3000);
    expect(made()).to.equal(3);
    want(2000);
    expect(made()).to.equal(4);
  });

  it('closes one that went while it was leased with its last lease', () => {
    const { cache } = counting(1);
    using _all = cache;
    const before = heldNamespaces();
    const one = cache.lease(mapped(1000));
    const two = cache.lease(mapped(1000));
    cache.lease(mapped(2000))[Symbol.dispose]();
    const name = nameOf(one);
    one[Symbol.dispose]();
    one[Symbol.dispose](); // Twice is once.
    expect(nameOf(two)).to.equal(name);
    expect(heldNamespaces() - before).to.equal(2);
    two[Symbol.dispose]();
    expect(heldNamespaces() - before).to.equal(1);
    expect(() => two.fd).to.throw('given back');
  });

  it('keeps none with a limit of 0', () => {
    const { cache } = counting(0);
    const before = heldNamespaces();
    {
      using _one = cache.lease(mapped(1000));
      expect(heldNamespaces() - before).to.equal(1);
    }
    expect(heldNamespaces()).to.equal(before);
  });

  it('shut, closes what nobody has, and the rest when it is given back', () => {
    const { cache } = counting(4);
    const before = heldNamespaces();
    const leased = cache.lease(mapped(1000));
    cache.lease(mapped(2000))[Symbol.dispose]();
    cache[Symbol.dispose]();
    expect(heldNamespaces() - before).to.equal(1);
    expect(nameOf(leased)).to.match(/user:/);
    // Who comes late is served, and nothing is kept.
    cache.lease(mapped(3000))[Symbol.dispose]();
    expect(heldNamespaces() - before).to.equal(1);
    leased[Symbol.dispose]();
    expect(heldNamespaces()).to.equal(before);
  });

  it('keeps nothing of what could not be made', () => {
    const { cache, made } = counting(4);
    using _all = cache;
    const twice = { uid: [...ids('0:5:10'), ...ids('3:50:10')], gid: ids('0:5:10') };
    for (let i = 0; i < 2; i++) expect(() => cache.lease(twice)).to.throw('EINVAL');
    expect(made()).to.equal(2);
  });
});
