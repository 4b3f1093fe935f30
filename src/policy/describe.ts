// A policy as a person reads it, for `doctor`: what each rule allows; what it does not name is not allowed.
import type { AllowedOptions, IdRange, Policy, Rule } from './policy.ts';
import { listOf, textsOf } from './text.ts';

export function describePolicy({ rules }: Policy): string {
  if (rules.length === 0) return 'no rules: no volume is allowed';
  return rules.map(describeRule).join('\n\n');
}

function describeRule(rule: Rule): string {
  const rows = Object.entries(ROWS)
    .map(([title, show]) => [title, show(rule)] as const)
    .filter((row): row is [string, string[]] => row[1] !== undefined && row[1].length > 0);
  const width = Math.max(...rows.map(([title]) => title.length));
  const lines = rows.flatMap(([title, values]) =>
    values.map((value, i) => `  ${(i === 0 ? title : '').padEnd(width)}  ${value}`),
  );
  return [`${rule.label}: ${rule.class} volumes`, ...lines].join('\n');
}

/** One row each: its title, and its lines; none where there is nothing to say. */
const ROWS: Readonly<Record<string, (rule: Rule) => string[] | undefined>> = {
  namespaces: ({ namespaces }) => namespaces && [textsOf(namespaces)],
  'service accounts': ({ serviceAccounts }) => serviceAccounts && [textsOf(serviceAccounts)],
  types: ({ types }) => [textsOf(types)],
  'filesystems of images': ({ fsTypes }) => (fsTypes.length === 0 ? [] : [textsOf(fsTypes)]),
  'make images': ({ mkfs, size }) => (mkfs ? [`up to ${bytesOr(size.max, 'any size')}`] : []),
  roots: ({ roots }) =>
    roots.map(({ path, access, requireMountpoint, trusted }) =>
      [path, access, ...(requireMountpoint ? ['if mounted'] : []), ...(trusted ? ['trusted'] : [])].join(
        ', ',
      ),
    ),
  'shown by': ({ readOnlyViewsOnly, roots }) =>
    readOnlyViewsOnly && roots.length > 0
      ? ['overlays and filesystems that are read-only by themselves']
      : [],
  'writable layers of overlays': ({ writable }) => [listOf(writable)],
  'servers as sources': ({ sources }) =>
    [...sources].map(([type, patterns]) => `${type}: ${textsOf(patterns)}`),
  'FUSE helpers': ({ helpers }) =>
    [...helpers].map(([name, { sources, options, program, user }]) =>
      [
        program === undefined ? name : `${name} by ${program}`,
        ...(user ? [`as user ${user.uid}:${user.gid}`] : []),
        ...(sources.length > 0 ? [`sources ${textsOf(sources)}`] : []),
        ...(options.size > 0 ? [`options ${optionsOf(options)}`] : []),
      ].join('; '),
    ),
  devices: ({ devices }) => (devices ? ['block devices below /dev'] : []),
  'as block devices': ({ block }) => (block ? ['images and devices'] : []),
  'more options': ({ options }) => [...options].map(([type, allowed]) => `${type}: ${optionsOf(allowed)}`),
  flags: ({ flags }) => [listOf(flags)],
  'security labels': ({ contexts }) => (contexts.length === 0 ? [] : [textsOf(contexts)]),
  'ID mappings': ({ idmap: { kinds, onDisk, shown } }) =>
    kinds.length === 0
      ? []
      : [
          listOf(kinds),
          ...(onDisk ? [`ids on disk ${rangesOf(onDisk)}`] : []),
          ...(shown ? [`ids shown ${rangesOf(shown)}`] : []),
        ],
  'size of tmpfs and layers': ({ sizeLimit }) => [
    `${bytesOr(sizeLimit.default, 'no bound')} by default, at most ${bytesOr(sizeLimit.max, 'any')}`,
  ],
  'volumes of a namespace': ({ maxVolumes }) => (maxVolumes === undefined ? [] : [`at most ${maxVolumes}`]),
};

const optionsOf = (options: AllowedOptions): string =>
  listOf([...options].map(([name, value]) => (value === undefined ? name : `${name}=${value.text}`)));

const rangesOf = (ranges: readonly IdRange[]): string =>
  listOf(ranges.map(({ from, to }) => `${from}-${to}`));

function bytesOr(bytes: number | undefined, none: string): string {
  if (bytes === undefined) return none;
  const units = ['', ' KiB', ' MiB', ' GiB', ' TiB'];
  const power = units.findLastIndex((_, i) => bytes >= 1024 ** i && bytes % 1024 ** i === 0);
  return power <= 0 ? `${bytes} bytes` : `${bytes / 1024 ** power}${units[power]}`;
}
