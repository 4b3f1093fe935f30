// The options of loop devices, which mean something only together: without `loop`, offset= and the others are data
// for the filesystem. Pure.
import { invalidMount } from './errors.ts';

export interface LoopRequest {
  readonly directIo: boolean;
  /** In bytes. */
  readonly offset: number;
  /** In bytes; 0 is all to the end. */
  readonly sizeLimit: number;
}

export interface TakenLoop {
  readonly loop: LoopRequest | undefined;
  /** The options that are not about loop devices. */
  readonly rest: readonly string[];
}

const OURS = /^(loop|direct-io|offset=.*|sizelimit=.*)$/;

/** Later options win over earlier ones. @throws MountError (invalid-mount) */
export function takeLoop(data: readonly string[]): TakenLoop {
  const named = data.find((option) => option.startsWith('loop='));
  if (named) throw invalidMount(`${named}: a free loop device is found by itself; say loop`);
  if (!data.includes('loop')) return { loop: undefined, rest: data };
  const loop = {
    directIo: data.includes('direct-io'),
    offset: bytes('offset'),
    sizeLimit: bytes('sizelimit'),
  };
  return { loop, rest: data.filter((option) => !OURS.test(option)) };

  function bytes(name: string): number {
    const given = data.findLast((option) => option.startsWith(`${name}=`));
    return given === undefined ? 0 : parseBytes(given, given.slice(name.length + 1));
  }
}

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** `4096`, `1M`, `1MiB`: as mount(8) reads them. */
function parseBytes(option: string, text: string): number {
  const [, digits, unit = ''] = /^(\d+)(?:([KMGT])(?:iB)?)?$/.exec(text) ?? [];
  const value = Number(digits) * (UNITS[unit] ?? Number.NaN);
  if (!Number.isSafeInteger(value)) {
    throw invalidMount(
      `${option}: not a number of bytes; use digits, with K, M, G or T behind them if need be`,
    );
  }
  return value;
}
