// Steps that make what an ID mapping needs.
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
    apply: ({ mapping, as }, at) => at.put(as, createUserNamespace(mapping)),
  },
};
