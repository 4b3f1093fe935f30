// Configuration of `serve`: one table of options, each a flag and an environment variable of the same name
// (`--node-id`, `CSI_IDMAP_NODE_ID`), read into one frozen object. A flag wins over its variable.
import { hostname } from 'node:os';
import path from 'node:path';
import { type HttpAddress, parseAddress } from './observe/address.ts';
import { parseEndpoint } from './rpc/endpoint.ts';

export interface Config {
  /** Path of the CSI socket. */
  readonly socket: string;
  readonly nodeId: string;
  readonly driverName: string;
  readonly kubeletDir: string;
  readonly stateDir: string;
  /** Where metrics and health are served, if they are. */
  readonly metricsAddress: HttpAddress | undefined;
  readonly logLevel: 'error' | 'warn' | 'info' | 'debug';
  readonly logFormat: 'json' | 'text';
}

interface OptionRow<T> {
  readonly flag: string;
  readonly placeholder: string;
  readonly meaning: string;
  /** As it would be written; undefined where it is worked out (`default` in `meaning`). */
  readonly fallback: (raw: RawConfig) => string;
  /** @throws Error saying what is allowed */
  readonly parse: (text: string) => T;
}

/** What was given, flags and variables merged, still as text. */
export type RawConfig = { readonly [K in keyof Config]?: string };

export const OPTIONS: { readonly [K in keyof Config]: OptionRow<Config[K]> } = {
  socket: {
    flag: 'endpoint',
    placeholder: 'URL',
    meaning: 'socket that kubelet calls',
    fallback: () => 'unix:///csi/csi.sock',
    parse: parseEndpoint,
  },
  nodeId: {
    flag: 'node-id',
    placeholder: 'NAME',
    meaning: 'name of this node (default: the host name)',
    fallback: hostname,
    parse: limited(256),
  },
  driverName: {
    flag: 'driver-name',
    placeholder: 'NAME',
    meaning: 'name of the CSI driver, as in the CSIDriver object',
    fallback: () => 'idmap.csi.dev',
    parse: parseDriverName,
  },
  kubeletDir: {
    flag: 'kubelet-dir',
    placeholder: 'DIR',
    meaning: "the kubelet's --root-dir: every target must lie below it",
    fallback: () => '/var/lib/kubelet',
    parse: absolutePath,
  },
  stateDir: {
    flag: 'state-dir',
    placeholder: 'DIR',
    meaning: 'where records of mounts are kept (default: <kubelet dir>/plugins/<driver name>)',
    fallback: ({ kubeletDir, driverName }) =>
      path.join(kubeletDir ?? OPTIONS.kubeletDir.fallback({}), 'plugins', driverName ?? 'idmap.csi.dev'),
    parse: absolutePath,
  },
  metricsAddress: {
    flag: 'metrics-address',
    placeholder: 'HOST:PORT',
    meaning:
      'where to serve /metrics, /healthz and /readyz over HTTP; :PORT for all addresses (default: nowhere)',
    fallback: () => '',
    parse: parseAddress,
  },
  logLevel: {
    flag: 'log-level',
    placeholder: 'LEVEL',
    meaning: 'error, warn, info or debug',
    fallback: () => 'info',
    parse: oneOf('error', 'warn', 'info', 'debug'),
  },
  logFormat: {
    flag: 'log-format',
    placeholder: 'FORMAT',
    meaning: 'json or text',
    fallback: () => 'json',
    parse: oneOf('json', 'text'),
  },
};

const KEYS = Object.keys(OPTIONS) as (keyof Config)[];

/** `node-id` as the variable that mirrors it. */
export function variableOf(flag: string): string {
  return `CSI_IDMAP_${flag.toUpperCase().replaceAll('-', '_')}`;
}

/**
 * @param flags by flag name without dashes, as given; absent when not given
 * @throws Error naming flag or variable, value and what is allowed
 */
export function readConfig(
  flags: Readonly<Record<string, string | undefined>>,
  environment: Readonly<Record<string, string | undefined>>,
): Config {
  const given = KEYS.map((key) => {
    const { flag } = OPTIONS[key];
    return [key, flags[flag] ?? environment[variableOf(flag)]] as const;
  });
  const raw: RawConfig = Object.fromEntries(given.filter(([, value]) => value !== undefined));
  const config = KEYS.map((key) => {
    const { flag, parse, fallback } = OPTIONS[key];
    const value = raw[key] ?? fallback(raw);
    try {
      return [key, parse(value)] as const;
    } catch (error) {
      const name = flags[flag] === undefined && raw[key] !== undefined ? variableOf(flag) : `--${flag}`;
      throw new Error(`${name} ${JSON.stringify(value)}: ${error instanceof Error ? error.message : error}`);
    }
  });
  return Object.freeze(Object.fromEntries(config)) as unknown as Config;
}

function oneOf<const T extends string>(...allowed: T[]): (text: string) => T {
  return (text) => {
    const found = allowed.find((candidate) => candidate === text);
    if (found === undefined) throw new Error(`must be one of ${allowed.join(', ')}`);
    return found;
  };
}

function absolutePath(text: string): string {
  if (!path.isAbsolute(text)) throw new Error('must be an absolute path');
  return path.normalize(text).replace(/(.)\/+$/, '$1');
}

function limited(bytes: number): (text: string) => string {
  return (text) => {
    if (text === '' || Buffer.byteLength(text) > bytes) throw new Error(`must have 1 to ${bytes} bytes`);
    return text;
  };
}

/** CSI, GetPluginInfoResponse.name: domain name notation, at most 63 characters. */
function parseDriverName(text: string): string {
  if (text.length > 63 || !/^[a-zA-Z]([-a-zA-Z0-9.]*[a-zA-Z0-9])?$/.test(text)) {
    throw new Error('must be a domain name of at most 63 characters, such as idmap.csi.dev');
  }
  return text;
}
