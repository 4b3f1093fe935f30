// Which mount options a volume may carry, by name and value pattern, per type: whatever is not listed is refused.
// A path never comes in through an option: it has a key of its own, where it is checked (`lowerdir=` here could
// name any directory of the host). Propagation is the driver's own affair: a volume that could choose it could
// make mounts of a pod appear on the node.

export interface OptionRule {
  readonly name: string;
  /** What the value must match; absent for an option without one. */
  readonly value?: RegExp;
}

const names = (...list: string[]): OptionRule[] => list.map((name) => ({ name }));

const ANY_TYPE = names(
  ...['defaults', 'ro', 'rw', 'nosuid', 'nodev', 'noexec', 'exec', 'nosymfollow'],
  ...['atime', 'noatime', 'diratime', 'nodiratime', 'relatime', 'strictatime'],
);

const RULES: Readonly<Record<string, readonly OptionRule[]>> = {
  // Not rbind: flags would hold for the top of the tree alone.
  bind: [...ANY_TYPE, ...names('bind')],
  tmpfs: [
    ...ANY_TYPE,
    { name: 'size', value: /^\d{1,15}[kmg%]?$/i },
    { name: 'nr_inodes', value: /^\d{1,15}[kmg]?$/i },
    { name: 'mode', value: /^[01]?[0-7]{3}$/ },
    { name: 'uid', value: /^\d{1,10}$/ },
    { name: 'gid', value: /^\d{1,10}$/ },
    { name: 'huge', value: /^(never|always|within_size|advise)$/ },
    ...names('noswap'),
  ],
  overlay: [
    ...ANY_TYPE,
    ...names('sync', 'async'),
    { name: 'xino', value: /^(on|off|auto)$/ },
    { name: 'uuid', value: /^(on|off|auto|null)$/ },
  ],
};

/** Why the option is refused, or undefined when it is allowed. */
export function optionProblem(type: string, option: string): string | undefined {
  const at = option.indexOf('=');
  const name = at === -1 ? option : option.slice(0, at);
  const value = at === -1 ? undefined : option.slice(at + 1);
  const rule = (RULES[type] ?? ANY_TYPE).find((candidate) => candidate.name === name);
  if (rule === undefined) {
    return `option ${JSON.stringify(option)} is not allowed for type ${type}; allowed are ${(RULES[type] ?? ANY_TYPE).map((allowed) => allowed.name).join(', ')}`;
  }
  if (rule.value === undefined) return value === undefined ? undefined : `option ${name} takes no value`;
  if (value !== undefined && rule.value.test(value)) return undefined;
  return `option ${JSON.stringify(option)}: the value must match ${rule.value.source}`;
}
