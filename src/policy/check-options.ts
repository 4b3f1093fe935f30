// Whether a volume may carry an option: the base list of its type, and what its rule adds.
//
//   suid, dev, exec              by the rule's `flags`
//   context=                     by its `contexts`
//   metacopy=, redirect_dir=...  of an overlay whose layers are all trusted
//   any other                    by name and value pattern, never what forbidden-options.ts has
import { keyAndValue } from '../mount/options.ts';
import { type Asked, isTrusted } from './asked.ts';
import { contentProblem, forbidden } from './forbidden-options.ts';
import { baseOptions, OVERLAY_TRUSTING } from './options.ts';
import type { AllowedOptions, Flag, Rule } from './policy.ts';
import { anyMatches, listOf, textsOf } from './text.ts';

/** Why the options are refused, each by itself. */
export function optionObjections(asked: Asked): string[] {
  const tables = tablesOf(asked);
  return asked.volume.options.flatMap((option) => {
    const problem = problemOf(option, asked, tables);
    return problem === undefined ? [] : [`option ${JSON.stringify(option)} ${problem}`];
  });
}

export const untrusted = ({ label, class: of }: Rule): string =>
  of === 'inline'
    ? 'no layer of an inline volume is trusted'
    : `not all of its layers lie in trusted roots of ${label}`;

const isFlag = (name: string): name is Flag => ['suid', 'dev', 'exec'].includes(name);

function problemOf(option: string, asked: Asked, tables: Tables): string | undefined {
  const { rule, volume } = asked;
  const [name, value] = keyAndValue(option);
  if (isFlag(name) && value === undefined) {
    if (rule.flags.includes(name)) return undefined;
    return `is not allowed for type ${volume.type}: of flags ${rule.label} allows ${listOf(rule.flags)}; remove it`;
  }
  if (name === 'context') return contextProblem(value ?? '', asked);
  if (volume.kind === 'overlay' && OVERLAY_TRUSTING.has(name)) {
    if (isTrusted(asked)) return valueProblem(name, value, [OVERLAY_TRUSTING]);
    return `is not allowed: overlayfs follows what the files of its layers say, and ${untrusted(rule)}; remove it`;
  }
  if (tables.base.some((table) => table.has(name)))
    return valueProblem(name, value, [...tables.base, ...tables.added]);
  const why = forbidden(name);
  if (why !== undefined) return `is not allowed for type ${volume.type}, whatever the policy: ${why}`;
  if (tables.added.some((table) => table.has(name))) return valueProblem(name, value, tables.added);
  const names = [...tables.base, ...tables.added].flatMap((table) => [...table.keys()]);
  return `is not allowed for type ${volume.type}; ${rule.label} allows ${names.join(', ')}`;
}

interface Tables {
  readonly base: readonly AllowedOptions[];
  /** By the rule. */
  readonly added: readonly AllowedOptions[];
}

function tablesOf({ rule, volume }: Asked): Tables {
  const types = volume.kind === 'image' ? [volume.type, volume.filesystem] : [volume.type];
  const added = types.map((type) => rule.options.get(type));
  if (volume.kind !== 'fuse') return { base: baseOptions(types), added: added.filter(isThere) };
  const helper = rule.helpers.get(volume.helper)?.options;
  return { base: baseOptions(['fuse']), added: [...added, helper].filter(isThere) };
}

const isThere = <T>(value: T | undefined): value is T => value !== undefined;

function valueProblem(
  name: string,
  value: string | undefined,
  tables: readonly AllowedOptions[],
): string | undefined {
  const rows = tables.filter((table) => table.has(name)).map((table) => table.get(name));
  const patterns = rows.filter(isThere);
  if (value === undefined)
    return patterns.length < rows.length ? undefined : `needs a value that matches ${textsOf(patterns)}`;
  if (patterns.length === 0) return 'takes no value';
  const problem = contentProblem(value);
  if (problem !== undefined) return `is not allowed: ${problem}`;
  return anyMatches(patterns, value) ? undefined : `must have a value that matches ${textsOf(patterns)}`;
}

function contextProblem(
  value: string,
  { rule: { label, contexts }, volume: { kind } }: Asked,
): string | undefined {
  const has = kind === 'tmpfs' || kind === 'overlay' || kind === 'image' || kind === 'filesystem';
  if (!has) return 'has no meaning for what is not a filesystem of its own; remove it';
  if (/^[a-zA-Z0-9_.:,-]+$/.test(value) && anyMatches(contexts, value)) return undefined;
  return `is not allowed: ${label} allows of security labels ${textsOf(contexts)}; remove it`;
}
