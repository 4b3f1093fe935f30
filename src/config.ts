// Configuration of `serve`: one table of options, each a flag and an environment variable of the same name
// (`--node-id`, `CSI_IDMAP_NODE_ID`), read into one frozen object. A flag wins over its variable.
import { hostname } from 'node:os';
import path from 'node:path';
import {
  absolutePath,
  driverName,
  limited,
  listOf,
  oneOf,
  optional,
  taintKey,
  wholeNumber,
} from './config-values.ts';
import type { KernelOptions, MountApi } from './mount/kernel.ts';
import { type HttpAddress, parseAddress } from './observe/address.ts';
import { parseEndpoint } from './rpc/endpoint.ts';
import { type FeatureName, featureNamed } from './sys/features.ts';

export interface Config extends Settings {
  /** What `mountApi` and `disabledFeatures` say, as the engine takes it. */
  readonly kernel: KernelOptions;
}

/** What the options say, each by itself. */
export interface Settings {
  /** Path of the CSI socket. */
  readonly socket: string;
  readonly nodeId: string;
  readonly driverName: string;
  readonly kubeletDir: string;
  readonly stateDir: string;
  readonly registration: 'on' | 'off';
  readonly registrationDir: string;
  /** Path of the CSI socket on the host. */
  readonly registrationEndpoint: string;
  /** The file that says who may mount what; without one the built-in policy does. */
  readonly policyFile: string | undefined;
  /** Key of the taint that is removed from the node once the driver is registered. */
  readonly startupTaint: string | undefined;
  readonly maxVolumes: number;
  readonly userNamespaces: 'auto' | 'nri' | 'nested';
  readonly nriSocket: string;
  readonly fsgroup: 'idmap' | 'kubelet';
  readonly fuseMode: 'inline' | 'host';
  /** Path of the socket of fuse-host. */
  readonly fuseHostSocket: string;
  /** See `kernel` of Config. */
  readonly mountApi: 'auto' | MountApi;
  readonly disabledFeatures: readonly FeatureName[];
  /** Where metrics and health are served, if they are. */
  readonly metricsAddress: HttpAddress | undefined;
  readonly logLevel: 'error' | 'warn' | 'info' | 'debug';
  readonly logFormat: 'json' | 'text';
}

export interface OptionRow<T> {
  readonly flag: string;
  /** Where it is not the flag's (variableOf). */
  readonly variable?: string;
  readonly placeholder: string;
  readonly meaning: string;
  /** The value is a list, separated by commas; the flag may be given several times. */
  readonly list?: true;
  /** As it would be written; undefined where it is worked out (`default` in `meaning`). */
  readonly fallback: (raw: RawConfig) => string;
  /** @throws Error saying what is allowed */
  readonly parse: (text: string) => T;
}

/** What was given, flags and variables merged, still as text. */
export type RawConfig = { readonly [K in keyof Settings]?: string };

export const OPTIONS: { readonly [K in keyof Settings]: OptionRow<Settings[K]> } = {
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
    parse: driverName,
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
    fallback: (raw) => pluginDir(raw),
    parse: absolutePath,
  },
  registration: {
    flag: 'registration',
    placeholder: 'on|off',
    meaning: 'whether the driver registers itself with kubelet; off where node-driver-registrar does so',
    fallback: () => 'on',
    parse: oneOf('on', 'off'),
  },
  registrationDir: {
    flag: 'registration-dir',
    placeholder: 'DIR',
    meaning: 'where kubelet looks for plugins (default: <kubelet dir>/plugins_registry)',
    fallback: ({ kubeletDir }) =>
      path.join(kubeletDir ?? OPTIONS.kubeletDir.fallback({}), 'plugins_registry'),
    parse: absolutePath,
  },
  registrationEndpoint: {
    flag: 'registration-endpoint',
    placeholder: 'URL',
    meaning:
      'the socket that kubelet calls as kubelet finds it, on the host (default: <kubelet dir>/plugins/<driver name>/csi.sock)',
    fallback: (raw) => path.join(pluginDir(raw), 'csi.sock'),
    parse: (text) => absolutePath(parseEndpoint(text)),
  },
  policyFile: {
    flag: 'policy',
    placeholder: 'FILE',
    meaning: 'who may mount what, as YAML (default: the built-in policy)',
    fallback: () => '',
    parse: optional(absolutePath),
  },
  startupTaint: {
    flag: 'startup-taint',
    placeholder: 'KEY',
    meaning:
      'key of a taint to remove from the node once kubelet has registered and listed the driver, so that no pod comes before; needs the right to change nodes (default: none)',
    fallback: () => '',
    parse: optional(taintKey),
  },
  maxVolumes: {
    flag: 'max-volumes',
    placeholder: 'NUMBER',
    meaning: 'how many volumes the scheduler may bring to this node; 0 for any number',
    fallback: () => '0',
    // The count of an allocatable in CSINode has 32 bits.
    parse: wholeNumber(0, 2 ** 31 - 1),
  },
  userNamespaces: {
    flag: 'user-namespaces',
    placeholder: 'WAY',
    meaning:
      "how a pod with hostUsers: false gets a volume that the runtime cannot map: nri (by the runtime's Node Resource Interface), nested (below a small tmpfs) or auto (nri where the runtime has it)",
    fallback: () => 'auto',
    parse: oneOf('auto', 'nri', 'nested'),
  },
  nriSocket: {
    flag: 'nri-socket',
    placeholder: 'PATH',
    meaning: "the container runtime's socket for NRI plugins",
    fallback: () => '/var/run/nri/nri.sock',
    parse: absolutePath,
  },
  fsgroup: {
    flag: 'fsgroup',
    placeholder: 'WAY',
    meaning:
      "who sees to a pod's fsGroup: idmap (the driver, which shows the files as that group's) or kubelet (which changes the owner of every file)",
    fallback: () => 'idmap',
    parse: oneOf('idmap', 'kubelet'),
  },
  fuseMode: {
    flag: 'fuse-mode',
    placeholder: 'MODE',
    meaning:
      'where FUSE helpers run: inline (below the driver, and end with it) or host (below fuse-host, and outlive it)',
    fallback: () => 'inline',
    parse: oneOf('inline', 'host'),
  },
  fuseHostSocket: {
    flag: 'fuse-host-socket',
    placeholder: 'PATH',
    meaning: 'where fuse-host listens (default: <state dir>/fuse-host.sock)',
    fallback: (raw) => path.join(raw.stateDir ?? pluginDir(raw), 'fuse-host.sock'),
    parse: absolutePath,
  },
  mountApi: {
    flag: 'mount-api',
    placeholder: 'API',
    meaning:
      'which system calls make mounts: modern (open_tree(2) and its kin), classic (mount(2)) or auto (what the kernel has)',
    fallback: () => 'auto',
    parse: oneOf('auto', 'modern', 'classic'),
  },
  disabledFeatures: {
    flag: 'disable-kernel-feature',
    placeholder: 'NAME',
    meaning: 'kernel features to do without, of those that doctor lists; comma-separated (default: none)',
    list: true,
    fallback: () => '',
    parse: listOf(featureNamed),
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

/** Where things are on a node: for commands there that look at what the driver has. */
export const PLACE_OPTIONS = {
  kubeletDir: OPTIONS.kubeletDir,
  driverName: OPTIONS.driverName,
  stateDir: OPTIONS.stateDir,
  fuseHostSocket: OPTIONS.fuseHostSocket,
  nriSocket: OPTIONS.nriSocket,
};

/** What is the driver's own on a node. */
function pluginDir({ kubeletDir, driverName }: RawConfig): string {
  const { kubeletDir: directory, driverName: name } = OPTIONS;
  return path.join(kubeletDir ?? directory.fallback({}), 'plugins', driverName ?? name.fallback({}));
}

/** `node-id` as the variable that mirrors it. */
export function variableOf(flag: string): string {
  return `CSI_IDMAP_${flag.toUpperCase().replaceAll('-', '_')}`;
}

/** A table of options, of one command. */
export type OptionTable<S> = { readonly [K in keyof S]: OptionRow<S[K]> };

/**
 * @param flags by flag name without dashes, as given; absent when not given
 * @throws Error naming flag or variable, value and what is allowed
 */
export function readConfig(flags: Given, environment: Given): Config {
  const settings = readOptions(OPTIONS, flags, environment);
  const { mountApi, disabledFeatures: disabled } = settings;
  const kernel = Object.freeze({ api: mountApi === 'auto' ? undefined : mountApi, disabled });
  return Object.freeze({ ...settings, kernel });
}

type Given = Readonly<Record<string, string | undefined>>;

/** @throws Error naming flag or variable, value and what is allowed */
export function readOptions<S>(table: OptionTable<S>, flags: Given, environment: Given): S {
  const keys = Object.keys(table) as (keyof S & string)[];
  const given = keys.map((key) => {
    const { flag, variable = variableOf(flag) } = table[key];
    return [key, flags[flag] ?? environment[variable]] as const;
  });
  const raw: RawConfig = Object.fromEntries(given.filter(([, value]) => value !== undefined));
  const read = keys.map((key) => {
    const { flag, variable = variableOf(flag), parse, fallback } = table[key];
    const value = (raw as Given)[key] ?? fallback(raw);
    try {
      return [key, parse(value)] as const;
    } catch (error) {
      const isVariable = flags[flag] === undefined && (raw as Given)[key] !== undefined;
      const name = isVariable ? variable : `--${flag}`;
      throw new Error(`${name} ${JSON.stringify(value)}: ${error instanceof Error ? error.message : error}`);
    }
  });
  return Object.freeze(Object.fromEntries(read)) as S;
}
