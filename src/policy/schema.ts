// The shape of a policy file, one row for each key, with its default. What keys mean together is checked in read.ts.
import * as z from 'zod';
import { messageOf } from '../mount/errors.ts';
import { MAX_ID } from '../userns/mapping.ts';
import { VolumeError } from '../volume/errors.ts';
import { nearest } from '../volume/nearest.ts';
import { parseQuantity } from '../volume/parse.ts';
import type { HelperUser, IdRange, Pattern } from './policy.ts';
import { rootProblem } from './roots.ts';

/** An object without other keys than these; of another, the one that is meant is named. */
function strict<S extends z.ZodRawShape>(shape: S) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: ({ code, keys }) =>
      code === 'unrecognized_keys'
        ? (keys as string[]).map((key) => unknownKey(key, known)).join('; ')
        : undefined,
  });
}

function unknownKey(key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  return `there is no key ${key}; ${meant === undefined ? `the keys are ${known.join(', ')}` : `did you mean ${meant}?`}`;
}

/** `*` stands for any characters but a slash. */
function glob(form: RegExp, what: string) {
  return z
    .string()
    .regex(form, `must be ${what}; * stands for any characters`)
    .transform((text): Pattern => {
      const source = text.replace(/[.+]/g, '\\$&').replaceAll('*', '[^/]*');
      return { text, regex: new RegExp(`^${source}$`) };
    });
}

/** Of a whole value. */
const pattern = z.string().transform(toPattern);

function toPattern(text: string, context: z.RefinementCtx): Pattern {
  try {
    // By itself first: a parenthesis that ends the group would let parts of a value do.
    new RegExp(text);
    return { text, regex: new RegExp(`^(?:${text})$`) };
  } catch (error) {
    return refuse(context, messageOf(error));
  }
}

function refuse(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}

const quantity = z.union([z.string(), z.number()]).transform((value, context): number => {
  try {
    return parseQuantity(String(value), '');
  } catch (error) {
    if (!(error instanceof VolumeError)) throw error;
    return refuse(context, error.problem);
  }
});

const idRange = z.union([z.string(), z.number()]).transform((value, context): IdRange => {
  const [, first, last = first] = /^(\d{1,10})(?:-(\d{1,10}))?$/.exec(String(value)) ?? [];
  const [from, to] = [Number(first), Number(last)];
  if (from <= to && to <= MAX_ID) return { from, to };
  return refuse(context, `must be an id or a range such as 100000-165535, up to ${MAX_ID}`);
});

/** YAML 1.1, which Helm speaks, reads a bare `no` as false. */
const writable = z.preprocess(
  (value) => (value === false ? 'no' : value),
  z.enum(['no', 'ephemeral', 'persistent']),
);

/** The pattern of its value; undefined for an option without one. */
const optionValue = z.unknown().transform((value, context): Pattern | undefined => {
  if (value === true) return undefined;
  if (typeof value === 'string') return toPattern(value, context);
  return refuse(context, 'must be a pattern of the value, or true for an option without one');
});

const options = byName(optionValue);

function byName<T extends z.ZodType>(row: T) {
  return z
    .record(z.string(), row)
    .transform((rows) => new Map(Object.entries(rows) as [string, z.output<T>][]));
}

const TYPE = /^[A-Za-z0-9_*][A-Za-z0-9._+*-]*$/;

const root = strict({
  path: z.string().superRefine((text, context) => {
    const problem = rootProblem(text);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: problem });
  }),
  access: z.enum(['read-only', 'read-write']).default('read-only'),
  requireMountpoint: z.boolean().default(false),
  trusted: z.boolean().default(false),
});

/** Nobody's id is that of many containers of the node: a helper would have power over their processes, and they over it. */
const NOBODY = 65_534;
/** Neither of Debian's users nor in the range of systemd's dynamic ones. */
const DEDICATED = '61001:61001';

/** No user that has the rights of root, nor the id that stands for none. */
const helperUser = z.union([z.string(), z.number()]).transform((value, context): HelperUser => {
  const [, user, group = user] = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(String(value)) ?? [];
  const [uid, gid] = [Number(user), Number(group)];
  if (uid === NOBODY || gid === NOBODY) {
    return refuse(
      context,
      `${NOBODY} is the user of many containers: the helper could signal their processes and read their environment, and they the helper's; give it ids that nothing else has, such as ${DEDICATED}`,
    );
  }
  if (uid >= 1 && gid >= 1 && Math.max(uid, gid) <= MAX_ID) return { uid, gid };
  return refuse(context, `must be the numbers of a user and group of its own, such as ${DEDICATED}`);
});

const helper = strict({
  sources: z.array(pattern).default([]),
  options: options.default(new Map()),
  program: z.string().optional(),
  user: helperUser.optional(),
});

const rule = strict({
  name: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$/, 'must be a short plain name')
    .optional(),
  class: z.enum(['inline', 'persistent']),
  namespaces: z
    .array(glob(/^[a-z0-9*-]+$/, 'the name of a namespace'))
    .min(1)
    .optional(),
  serviceAccounts: z
    .array(glob(/^([a-z0-9*-]+\/)?[a-z0-9.*-]+$/, 'name or namespace/name of a service account'))
    .min(1)
    .optional(),
  types: z.array(glob(TYPE, 'a type as volumes name it')).min(1),
  fsTypes: z.array(glob(TYPE, 'a filesystem')).default([]),
  roots: z.array(root).default([]),
  writable: z.array(writable).default(['no']),
  readOnlyViewsOnly: z.boolean().optional(),
  options: byName(options).default(new Map()),
  flags: z.array(z.enum(['suid', 'dev', 'exec'])).default(['exec']),
  contexts: z.array(pattern).default([]),
  helpers: byName(helper).default(new Map()),
  sources: byName(z.array(pattern)).default(new Map()),
  idmap: strict({
    kinds: z.array(z.enum(['explicit', 'owner', 'pod'])),
    onDisk: z.array(idRange).optional(),
    shown: z.array(idRange).optional(),
  }).default({ kinds: [], onDisk: undefined, shown: undefined }),
  sizeLimit: strict({ default: quantity.optional(), max: quantity.optional() }).default({}),
  size: strict({ max: quantity.optional() }).default({}),
  mkfs: z.boolean().default(false),
  devices: z.boolean().default(false),
  block: z.boolean().default(false),
  maxVolumes: z.int().nonnegative().optional(),
});

export const POLICY_SCHEMA = strict({
  version: z.literal(1),
  rules: z.array(rule),
});

export type ParsedPolicy = z.output<typeof POLICY_SCHEMA>;
export type ParsedRule = ParsedPolicy['rules'][number];
