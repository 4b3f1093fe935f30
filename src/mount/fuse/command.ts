// The command line of a helper. Pure.
//
//   directly             NAME [SOURCE] TARGET -o OPTION -o OPTION ...
//   through mount.fuse   mount.fuse SOURCE TARGET -t NAME -o OPTION -o OPTION ...
//
// What a caller gives can never become a flag: libfuse reads `-o -f` as `-f`, and `-o '\055f'` too (tried with
// bindfs), so an option begins with a letter or digit; helpers differ in whether they know `--`, so a source does
// not begin with `-`. plan/fuse.ts sees to both.
import { invalidMount } from '../errors.ts';

/** What a helper may be called: nothing that is a flag or a path. */
export const HELPER_NAME = /^[A-Za-z0-9_][A-Za-z0-9._+-]{0,62}$/;

/** The helper of a type `fuse.NAME` or `fuse3.NAME`; undefined for what is no such type. */
export function helperOfType(type: string): Pick<Helper, 'name' | 'flavour'> | undefined {
  const [, three, name = ''] = /^fuse(3?)\.(.*)$/s.exec(type) ?? [];
  return HELPER_NAME.test(name) ? { name, flavour: three === '3' ? 'fuse3' : 'fuse' } : undefined;
}

export interface Helper {
  /** The program. */
  readonly name: string;
  /** Which mount.fuse would start it, where that is allowed. */
  readonly flavour: 'fuse' | 'fuse3';
  /** Empty where the helper takes none. */
  readonly source: string;
  /** As the helper reads them: escaped. */
  readonly options: readonly string[];
}

/** @param flags of ours, such as `-f` */
export function helperArguments(
  { source, options }: Helper,
  target: string,
  flags: readonly string[] = [],
): string[] {
  const places = [...(source === '' ? [] : [source]), target];
  return [...flags, ...places, ...options.flatMap((option) => ['-o', option])];
}

/**
 * mount.fuse splits options at every comma, escaped or not, and takes some for itself (`setuid=`): an option with a
 * comma is refused. It adds `suid` and `dev` to what says nothing of them (mount.fuse3(8)), against libfuse's own
 * defaults: so something is said.
 */
export function mountFuseArguments({ name, source, options }: Helper, target: string): string[] {
  const comma = options.find((option) => option.includes(','));
  if (comma !== undefined) {
    throw invalidMount(
      `option ${JSON.stringify(comma)}: mount.fuse cannot pass on a comma; have the helper ${name} started directly`,
    );
  }
  const defaults = DEFAULTS.filter(({ instead }) => !options.includes(instead)).map(({ option }) => option);
  const all = [...defaults.filter((option) => !options.includes(option)), ...options];
  return [source, target, '-t', name, ...all.flatMap((option) => ['-o', option])];
}

const DEFAULTS = [
  { option: 'nosuid', instead: 'suid' },
  { option: 'nodev', instead: 'dev' },
] as const;

/** True for what only mount.fuse understands, so that a helper would refuse it. */
export function wantsMountFuse({ options }: Helper): boolean {
  return options.some((option) => /^(setuid=|drop_privileges$)/.test(option));
}

/**
 * One option as fuse_opt_parse(3) reads it whole: a comma would end it. What is escaped already, as overlay's
 * options are, stays so: a backslash keeps the next character.
 */
export function escapeOption(option: string): string {
  return option.replace(/\\.|\\$|,/gs, (found) => (found.length === 1 ? `\\${found}` : found));
}
