// Configuration of `fuse-host`: what it shares with `serve` under the same names, so that one set of variables serves
// both, and a few of its own.
import { OPTIONS, type OptionTable, readOptions, type Settings, variableOf } from './config.ts';
import { optional, wholeNumber } from './config-values.ts';
import { parseQuantity } from './volume/parse.ts';

export interface FuseHostConfig
  extends Pick<Settings, 'driverName' | 'kubeletDir' | 'stateDir' | 'policyFile' | 'logLevel' | 'logFormat'> {
  /** Path of its own socket. */
  readonly socket: string;
  /** What each helper may take, in bytes; undefined: as much as this process may. */
  readonly helperMemory: number | undefined;
  /** How long it waits at SIGTERM for volumes to be unpublished, in seconds. */
  readonly grace: number;
}

const { driverName, kubeletDir, stateDir, policyFile, logLevel, logFormat, fuseHostSocket } = OPTIONS;

export const FUSE_HOST_OPTIONS: OptionTable<FuseHostConfig> = {
  socket: {
    ...fuseHostSocket,
    flag: 'socket',
    variable: variableOf(fuseHostSocket.flag),
    meaning: 'where the driver finds it (default: <state dir>/fuse-host.sock)',
  },
  driverName,
  kubeletDir,
  stateDir,
  policyFile,
  helperMemory: {
    flag: 'helper-memory',
    placeholder: 'QUANTITY',
    meaning:
      'what one helper with all its processes may take of memory, such as 512Mi; needs control groups that may be written (default: no limit of its own)',
    fallback: () => '',
    parse: optional((text) => parseQuantity(text, 'helper-memory')),
  },
  grace: {
    flag: 'grace',
    placeholder: 'SECONDS',
    meaning: 'how long to wait at SIGTERM for the volumes of its helpers to be unpublished',
    fallback: () => '30',
    parse: wholeNumber(0, 86_400),
  },
  logLevel,
  logFormat,
};

/** @throws Error naming flag or variable, value and what is allowed */
export function readFuseHostConfig(
  flags: Readonly<Record<string, string | undefined>>,
  environment: Readonly<Record<string, string | undefined>>,
): FuseHostConfig {
  return readOptions(FUSE_HOST_OPTIONS, flags, environment);
}
