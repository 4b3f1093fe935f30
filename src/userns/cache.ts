// One user namespace for each distinct mapping, kept for the next who wants it: making one takes a process, finding one
// takes microseconds.
//
//   kept      up to a limit; the one that was not wanted for longest goes first
//   leased    to any number at the same time; one that goes while it is leased is closed with its last lease
//   shut      closes what nobody has; what is leased is closed when it is given back
//
// For one thread of one process.
import type { Fd } from '../sys/fd.ts';
import { createUserNamespace } from './create.ts';
import type { UserMapping } from './mapping.ts';
import { canonicalText } from './mapping-algebra.ts';

/** A user namespace while it is held. */
export interface NamespaceLease extends Disposable {
  /** Not for closing or handing on: it is given back with the lease. */
  readonly fd: Fd;
}

export interface UserNamespaces extends Disposable {
  /** @throws SyscallError as createUserNamespace() */
  readonly lease: (mapping: UserMapping) => NamespaceLease;
  /** How many are kept now. */
  readonly size: number;
}

export interface CacheOptions {
  /** How many are kept: each is a file descriptor. 0: none, each is closed with its last lease. */
  readonly limit?: number;
  readonly create?: (mapping: UserMapping) => Fd;
}

const LIMIT = 64;

interface Entry {
  readonly fd: Fd;
  leases: number;
  kept: boolean;
}

export function userNamespaces({
  limit = LIMIT,
  create = createUserNamespace,
}: CacheOptions = {}): UserNamespaces {
  // In the order in which they were last wanted.
  const kept = new Map<string, Entry>();
  let most = limit;

  function evict(): void {
    for (const [key, entry] of kept) {
      if (kept.size <= most) return;
      kept.delete(key);
      entry.kept = false;
      closeUnused(entry);
    }
  }

  return {
    lease(mapping) {
      const key = canonicalText(mapping);
      const entry = kept.get(key) ?? { fd: create(mapping), leases: 0, kept: true };
      kept.delete(key);
      kept.set(key, entry);
      entry.leases++;
      evict();
      return leaseOf(entry);
    },
    get size() {
      return kept.size;
    },
    [Symbol.dispose]() {
      most = 0;
      evict();
    },
  };
}

function leaseOf(entry: Entry): NamespaceLease {
  let held = true;
  return {
    get fd() {
      if (!held) throw new Error('this lease of a user namespace has been given back');
      return entry.fd;
    },
    [Symbol.dispose]() {
      if (!held) return;
      held = false;
      entry.leases--;
      closeUnused(entry);
    },
  };
}

function closeUnused({ fd, leases, kept }: Entry): void {
  if (leases === 0 && !kept) fd[Symbol.dispose]();
}
