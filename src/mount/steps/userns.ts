// Steps that make what an ID mapping needs, and look at what became of it.
import { STATX, STATX_MASK } from '../../sys/constants.ts';
import type { Fd } from '../../sys/fd.ts';
import { statx } from '../../sys/syscalls.ts';
import { type CacheOptions, type UserNamespaces, userNamespaces } from '../../userns/cache.ts';
import { createUserNamespace } from '../../userns/create.ts';
import { formatIdMapping, type UserMapping } from '../../userns/mapping.ts';
import { mappedRoot } from '../../userns/mapping-algebra.ts';
import { invalidMount } from '../errors.ts';
import type { RootIds } from '../idmap-options.ts';
import type { Kernel } from '../kernel.ts';
import { type Owner, showRootAs } from '../root-ids.ts';
import type { Rows, Slot } from './row.ts';

/** A root directory, and what it is to be shown as. */
export interface RootOf extends RootIds {
  readonly of: Slot;
}

export interface UsernsSteps {
  /**
   * A user namespace of this mapping, with the ids of a root swapped for others: whose they are is only known from what
   * has been opened. The slot stays empty where that changes nothing.
   */
  readonly createUserNamespace: {
    readonly mapping: UserMapping | undefined;
    readonly root: RootOf | undefined;
    readonly as: Slot;
  };
  /** A root without an id in the map that its mount has had already stays nobody's, whatever is swapped. */
  readonly checkRoot: RootOf;
}

export const usernsSteps: Rows<UsernsSteps> = {
  createUserNamespace: {
    describe: ({ mapping, root, as }) => {
      const ids = mapping ? `uid ${formatIdMapping(mapping.uid)}, gid ${formatIdMapping(mapping.gid)}` : '';
      const parts = [ids, root ? `the root of ${root.of} as ${idsOf(root)} and the reverse` : ''];
      return `${as} = user namespace {${parts.filter((part) => part !== '').join('; ')}}`;
    },
    apply({ mapping, root, as }, at) {
      const whole = root === undefined ? mapping : showRootAs(ownerOf(at.get(root.of)), root, mapping);
      if (whole === undefined) return at.leaveEmpty(as);
      const lease = at.userNamespaces.lease(whole);
      mappings.set(lease.fd, whole);
      at.put(as, lease.fd, lease);
    },
  },
  checkRoot: {
    describe: (root) => `check that the root of ${root.of} is shown as ${idsOf(root)}`,
    apply: ({ of, uid, gid }, at) => {
      const shown = ownerOf(at.get(of));
      const [wanted, found] = [{ uid: uid ?? shown.uid, gid: gid ?? shown.gid }, idsOf(shown)];
      if (found === idsOf(wanted)) return;
      throw invalidMount(
        `the root of the source is shown as ${found}, not as ${idsOf(wanted)}: the source is an ID-mapped mount in ` +
          'which its root has no id; use the unmapped source',
      );
    },
  },
};

function ownerOf(root: Fd): Owner {
  return statx(root, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
}

function idsOf({ uid, gid }: RootIds): string {
  return [...(uid === undefined ? [] : [`uid ${uid}`]), ...(gid === undefined ? [] : [`gid ${gid}`])].join(
    ', ',
  );
}

/** A namespace does not tell its mapping to those outside of it. */
const mappings = new WeakMap<Fd, UserMapping>();
export const mappingOf = (userns: Fd): UserMapping | undefined => mappings.get(userns);

/** Who root of a namespace of ours is, as others see him. */
export function rootOfNamespace(userns: Fd): Owner {
  const mapping = mappingOf(userns);
  if (mapping === undefined) throw new Error(`no mapping is known of ${userns}`);
  return mappedRoot(mapping);
}

/** User namespaces for the plans of an engine, made in the ways that its kernel has. */
export const userNamespacesOn = (kernel: Pick<Kernel, 'has'>, options: CacheOptions = {}): UserNamespaces =>
  userNamespaces({ create: (mapping) => createUserNamespace(mapping, kernel), ...options });
