// Steps that make what an ID mapping needs.
import type { Fd } from '../../sys/fd.ts';
import { type CacheOptions, type UserNamespaces, userNamespaces } from '../../userns/cache.ts';
import { createUserNamespace } from '../../userns/create.ts';
import { formatIdMapping, type UserMapping } from '../../userns/mapping.ts';
import type { Kernel } from '../kernel.ts';
import type { Rows, Slot } from './row.ts';

export interface UsernsSteps {
  /** A user namespace of this mapping. */
  readonly createUserNamespace: { readonly mapping: UserMapping; readonly as: Slot };
}

export const usernsSteps: Rows<UsernsSteps> = {
  createUserNamespace: {
    describe: ({ mapping, as }) =>
      `${as} = user namespace {uid ${formatIdMapping(mapping.uid)}, gid ${formatIdMapping(mapping.gid)}}`,
    apply({ mapping, as }, at) {
      const lease = at.userNamespaces.lease(mapping);
      mappings.set(lease.fd, mapping);
      at.put(as, lease.fd, lease);
    },
  },
};

/** A namespace does not tell its mapping to those outside of it. */
const mappings = new WeakMap<Fd, UserMapping>();
export const mappingOf = (userns: Fd): UserMapping | undefined => mappings.get(userns);

/** User namespaces for the plans of an engine, made in the ways that its kernel has. */
export const userNamespacesOn = (kernel: Pick<Kernel, 'has'>, options: CacheOptions = {}): UserNamespaces =>
  userNamespaces({ create: (mapping) => createUserNamespace(mapping, kernel), ...options });
