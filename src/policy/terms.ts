// The terms on which a volume is granted: what is added to its mounts, and where its sources are looked for. Pure.
import type { ProgramOptions } from '../mount/fuse/programs.ts';
import type { SourceRoot } from '../mount/source.ts';
import type { PartTerms } from '../volume/whole.ts';
import { type Asked, isTrusted } from './asked.ts';
import type { Flag, Grant, HelperRule, Rule } from './policy.ts';
import { sizeOf } from './sizes.ts';
import { mayPanic } from './types.ts';

/** All that overlayfs may be told by files of its layers; whatever the kernel's own defaults are. */
const FOLLOW_NOTHING = ['redirect_dir=nofollow', 'metacopy=off'];

/** @param never places that nothing is shown of, whatever leads there */
export function grantOf(rule: Rule, parts: readonly Asked[], never: readonly string[]): Grant {
  const names = parts.flatMap(({ volume }) => (volume.kind === 'fuse' ? [volume.helper] : []));
  const said = <T>(of: (helper: HelperRule) => T | undefined): ReadonlyMap<string, T> =>
    new Map(
      names.flatMap((name) => {
        const helper = rule.helpers.get(name);
        const value = helper && of(helper);
        return value === undefined ? [] : [[name, value] as const];
      }),
    );
  return {
    sourceRoots: rootsOf(parts, never),
    options: flagsOf(rule, parts),
    parts: parts.map(termsOf),
    growTo: rule.size.max,
    helperPrograms: said(({ program }) => program),
    helperUsers: said(({ user }) => user),
  };
}

/** What a grant says of helpers, as the engine takes it: plain data, for it goes on to other processes. */
export function programsOf({ helperPrograms, helperUsers }: Grant): ProgramOptions {
  return {
    helperPrograms: Object.fromEntries(helperPrograms),
    users: Object.fromEntries(helperUsers),
  };
}

/** Those that sources lie in, and no others. */
function rootsOf(parts: readonly Asked[], never: readonly string[]): SourceRoot[] {
  const roots = parts.flatMap(({ places }) => places.flatMap(({ root }) => root ?? []));
  const byPath = new Map(roots.map((root) => [root.at, root]));
  return [...byPath.values()].map(({ at, requireMountpoint }) => ({
    ...{ path: at, requireMountpoint },
    except: never.filter((place) => place !== at),
  }));
}

/** A mount has what its author asks for and the rule allows, and else does without; `exec` goes without saying. */
function flagsOf({ flags }: Rule, parts: readonly Asked[]): string[] {
  const isAsked = (flag: Flag) => parts.some(({ volume }) => volume.options.includes(flag));
  return (['suid', 'dev', 'exec'] as const)
    .filter((flag) => !flags.includes(flag) || (flag !== 'exec' && !isAsked(flag)))
    .map((flag) => `no${flag}`);
}

function termsOf(asked: Asked): PartTerms {
  const { volume } = asked;
  return {
    sizeLimit: sizeOf(asked),
    options: volume.kind === 'overlay' && !isTrusted(asked) ? FOLLOW_NOTHING : errorsOf(asked),
  };
}

/** What a filesystem does on errors stands in its superblock, which its author wrote, and may be to stop the node. */
function errorsOf({ volume }: Asked): string[] {
  const filesystem = volume.kind === 'image' ? volume.filesystem : volume.type;
  const isSaid = volume.options.some((option) => option.startsWith('errors='));
  return mayPanic(filesystem) && !isSaid ? ['errors=remount-ro'] : [];
}
