// A container of the image as the chart has kubelet start it: privileged, on a root that cannot be written, with the
// node's /dev, a /tmp of its own, and kubelet's directory mounted both ways.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { temporaryDirectory } from '../support/fixtures.ts';
import type { Image } from './archive.ts';

export interface ContainerOptions {
  /** In place of the image's Cmd. */
  readonly args?: readonly string[];
  /** In place of the image's Entrypoint, too. */
  readonly command?: readonly string[];
  /** Kubelet's directory on the node, at the same path in the container. Must be a shared mount. */
  readonly kubeletDir?: string;
}

export interface Container extends AsyncDisposable {
  signal(signal: NodeJS.Signals): void;
  readonly ended: Promise<{ readonly status: number; readonly stdout: string; readonly stderr: string }>;
}

/** By runc, as a runtime above it would. */
export function startContainer(runc: string, image: Image, options: ContainerOptions): Container {
  const { kubeletDir } = options;
  const place = temporaryDirectory();
  // What a runtime makes before the root becomes read-only.
  if (kubeletDir !== undefined) mkdirSync(join(image.root, kubeletDir), { recursive: true });
  writeFileSync(place.at('config.json'), JSON.stringify(configOf(image, options)));
  const id = `csi-driver-idmap-image-${process.pid}-${++count}`;
  const args = ['--root', place.at('state'), 'run', '--bundle', place.path, id];
  const child = spawn(runc, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const said = Promise.all([text(child.stdout), text(child.stderr)]);
  const ended = once(child, 'exit').then(async ([status]) => {
    const [stdout, stderr] = await said;
    return { status: status as number, stdout, stderr };
  });
  return {
    // runc passes signals on.
    signal: (signal) => child.kill(signal),
    ended,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null) {
        const killer = spawn(runc, ['--root', place.at('state'), 'kill', id, 'KILL'], { stdio: 'ignore' });
        await once(killer, 'exit');
      }
      await ended;
      place[Symbol.dispose]();
    },
  };
}

let count = 0;

function configOf({ root, config }: Image, { args, command, kubeletDir }: ContainerOptions): unknown {
  const capabilities = namesOfOurs();
  const bind = (source: string, propagation: string) => ({
    destination: source,
    type: 'bind',
    source,
    options: ['rbind', propagation, 'rw'],
  });
  return {
    ociVersion: '1.2.0',
    process: {
      user: { uid: 0, gid: 0 },
      args: command ?? [...(config.Entrypoint ?? []), ...(args ?? config.Cmd ?? [])],
      env: [...(config.Env ?? [])],
      cwd: '/',
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      noNewPrivileges: false,
    },
    root: { path: root, readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/sys', type: 'bind', source: '/sys', options: ['rbind', 'rslave', 'rw'] },
      bind('/dev', 'rslave'),
      { destination: '/tmp', type: 'tmpfs', source: 'tmpfs', options: ['mode=1777'] },
      ...(kubeletDir === undefined ? [] : [bind(kubeletDir, 'rshared')]),
    ],
    linux: {
      namespaces: ['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
      rootfsPropagation: kubeletDir === undefined ? 'rslave' : 'rshared',
      resources: { devices: [{ allow: true, access: 'rwm' }] },
    },
  };
}

/** All that this machine's root has: a runtime asks for all of them. */
function namesOfOurs(): string[] {
  const [, bounding = '0'] = /^CapBnd:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return CAPABILITIES.filter((_, bit) => (BigInt(`0x${bounding}`) >> BigInt(bit)) & 1n).map(
    (name) => `CAP_${name}`,
  );
}

/** By number: include/uapi/linux/capability.h */
const CAPABILITIES = [
  ...['CHOWN', 'DAC_OVERRIDE', 'DAC_READ_SEARCH', 'FOWNER', 'FSETID', 'KILL', 'SETGID', 'SETUID', 'SETPCAP'],
  ...[
    'LINUX_IMMUTABLE',
    'NET_BIND_SERVICE',
    'NET_BROADCAST',
    'NET_ADMIN',
    'NET_RAW',
    'IPC_LOCK',
    'IPC_OWNER',
  ],
  ...[
    'SYS_MODULE',
    'SYS_RAWIO',
    'SYS_CHROOT',
    'SYS_PTRACE',
    'SYS_PACCT',
    'SYS_ADMIN',
    'SYS_BOOT',
    'SYS_NICE',
  ],
  ...[
    'SYS_RESOURCE',
    'SYS_TIME',
    'SYS_TTY_CONFIG',
    'MKNOD',
    'LEASE',
    'AUDIT_WRITE',
    'AUDIT_CONTROL',
    'SETFCAP',
  ],
  ...['MAC_OVERRIDE', 'MAC_ADMIN', 'SYSLOG', 'WAKE_ALARM', 'BLOCK_SUSPEND', 'AUDIT_READ', 'PERFMON', 'BPF'],
  'CHECKPOINT_RESTORE',
];
