// How much a tmpfs or an ephemeral layer may hold.
import { keyAndValue } from '../mount/options.ts';
import type { PartVolume } from '../volume/volume.ts';
import type { Asked } from './asked.ts';

/** Whether the volume takes memory or disk that is nobody's yet. */
export function isSized(volume: PartVolume): boolean {
  return volume.kind === 'tmpfs' || (volume.kind === 'overlay' && volume.writable.is === 'ephemeral');
}

/** Bytes: the volume's own, or those of the rule for one that says nothing; undefined: no bound. */
export function sizeOf({ rule: { sizeLimit }, volume }: Pick<Asked, 'rule' | 'volume'>): number | undefined {
  const own = ownSize(volume);
  if (own !== undefined || !isSized(volume)) return own;
  // What the volume says, without naming bytes, stays as it is.
  return sizeOption(volume) === undefined ? sizeLimit.default : undefined;
}

function ownSize(volume: PartVolume): number | undefined {
  if (volume.kind === 'tmpfs') return volume.sizeLimit ?? sizeOption(volume)?.bytes;
  return volume.kind === 'overlay' && volume.writable.is === 'ephemeral'
    ? volume.writable.sizeLimit
    : undefined;
}

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 };

/** tmpfs's own `size=`, as the kernel reads it (tmpfs(5)); no bytes for a share of the memory, or for no bound (0). */
export function sizeOption({
  kind,
  options,
}: PartVolume): { text: string; bytes: number | undefined } | undefined {
  if (kind !== 'tmpfs') return undefined;
  const [, text] = options.map(keyAndValue).findLast(([name]) => name === 'size') ?? [];
  if (text === undefined) return undefined;
  const [, digits = '', unit = ''] = /^(\d+)([kmg]?)$/i.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS[unit.toLowerCase()] ?? Number.NaN);
  return { text, bytes: Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined };
}
