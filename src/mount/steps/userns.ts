// Steps that make what an ID mapping needs.
import type { Fd } from '../../sys/fd.ts';
import { createUserNamespace } from '../../userns/create.ts';
import { formatIdMapping, type UserMapping } from '../../userns/mapping.ts';
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
      const fd = createUserNamespace(mapping);
      mappings.set(fd, mapping);
      at.put(as, fd);
    },
  },
};

/** A namespace does not tell its mapping to those outside of it. */
const mappings = new WeakMap<Fd, UserMapping>();
export const mappingOf = (userns: Fd): UserMapping | undefined => mappings.get(userns);
