// Containers as a pod has them: runc, from the Go module proxy, on a bundle with busybox in it, configured as
// containerd's CRI plugin would for a container without privileges.
//
//   the pod says                          the bind mount of the volume has
//   nothing                               rbind, rprivate, rw
//   readOnly: true                        ro in place of rw
//   mountPropagation: HostToContainer     rslave in place of rprivate
//   hostUsers: false                      uidMappings and gidMappings: the runtime ID-maps its top mount
//
// (containerd, internal/cri/opts/spec_linux_opts.go and container_create_linux.go)
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type ContainerOutcome,
  type ContainerSpec,
  type ContainerVolume,
  makeRoot,
  type OciConfig,
  type Runtime,
} from './container.ts';
import { type TemporaryDirectory, temporaryDirectory } from './fixtures.ts';
import { goTool } from './go-tool.ts';
import { needRoot, needTool } from './need.ts';
import { scaled } from './time-scale.ts';

export const RUNC = { module: 'github.com/opencontainers/runc', version: 'v1.4.3', cgo: true };
/** Longer than any script of a test. */
const TIMEOUT_MS = scaled(60_000);

/** Skips the test or hook where it cannot be had. The first call of a checkout builds it, which takes half a minute. */
export async function runc(context: Mocha.Context): Promise<Runtime> {
  needRoot(context, 'containers');
  needTool(context, 'busybox', 'what runs in the containers');
  const program = await goTool(context, RUNC);
  const place = temporaryDirectory();
  let count = 0;
  return {
    run: (spec) => runContainer(program, place, { ...spec, name: `${process.pid}-${++count}` }),
    [Symbol.dispose]: () => place[Symbol.dispose](),
  };
}

type Named = ContainerSpec & { readonly name: string };

async function runContainer(
  program: string,
  place: TemporaryDirectory,
  spec: Named,
): Promise<ContainerOutcome> {
  const bundle = place.at(spec.name);
  const log = join(bundle, 'log');
  makeRoot(join(bundle, 'rootfs'), spec);
  const config = configOf(spec);
  writeFileSync(join(bundle, 'config.json'), JSON.stringify((await spec.adjust?.(config)) ?? config));
  // Its state, too, must lie where the container's root can walk.
  const global = ['--root', place.at('state'), '--log', log, '--log-format', 'json'];
  try {
    const ended = await end(program, [...global, 'run', '--bundle', bundle, idOf(spec)]);
    const problem = errorIn(log);
    return problem === undefined ? { started: true, ...ended } : { started: false, problem };
  } finally {
    execFileSync(program, [...global, 'delete', '--force', idOf(spec)]);
    expectNoCgroups(idOf(spec));
  }
}

const idOf = ({ name }: Named): string => `csi-driver-idmap-${name}`;

function configOf(spec: Named): OciConfig {
  const { volumes, mapping, uid = 0, gid = uid, groups = [], script } = spec;
  const ids = mapping === undefined ? undefined : [mappingOf(mapping)];
  return {
    ociVersion: '1.2.0',
    process: {
      user: { uid, gid, additionalGids: [gid, ...groups] },
      args: ['sh', '-c', script],
      env: ['PATH=/bin'],
      cwd: '/',
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      noNewPrivileges: false,
    },
    root: { path: 'rootfs', readonly: false },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755'] },
      ...volumes.map((volume) => bindOf(volume, ids)),
    ],
    linux: {
      cgroupsPath: `/${idOf(spec)}`,
      namespaces: ['pid', 'ipc', 'uts', 'mount', 'network', ...(ids ? ['user'] : [])].map((type) => ({
        type,
      })),
      ...(ids && { uidMappings: ids, gidMappings: ids }),
      ...(volumes.some(({ mountPropagation }) => mountPropagation === 'HostToContainer') && {
        rootfsPropagation: 'rslave',
      }),
      // runc itself adds null, zero and the like.
      resources: { devices: [{ allow: false, access: 'rwm' }] },
    },
  };
}

function bindOf(volume: ContainerVolume, ids: readonly IdMapping[] | undefined): OciConfig['mounts'][number] {
  const { source, destination, readOnly = false, mountPropagation = 'None' } = volume;
  const propagation = { None: 'rprivate', HostToContainer: 'rslave' }[mountPropagation];
  return {
    type: 'bind',
    source,
    destination,
    options: ['rbind', propagation, readOnly ? 'ro' : 'rw'],
    ...(ids && { uidMappings: ids, gidMappings: ids }),
  };
}

interface IdMapping {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

function mappingOf(text: string): IdMapping {
  const [containerID = 0, hostID = 0, size = 0] = text.split(':').map(Number);
  return { containerID, hostID, size };
}

/** containerd, pkg/oci/spec.go: what a container has unless the pod adds or drops some. */
const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

/** A status other than 0 is a result. */
async function end(
  program: string,
  args: readonly string[],
): Promise<{ status: number; stdout: string; stderr: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{
    status: number;
    stdout: string;
    stderr: string;
  }>();
  const child = execFile(program, args, { timeout: TIMEOUT_MS }, (error, stdout, stderr) => {
    const status = error === null ? 0 : error.code;
    if (typeof status === 'number') resolve({ status, stdout, stderr });
    else reject(new Error(`runc did not end by itself: ${error?.message}\n${stderr}`, { cause: error }));
  });
  child.stdin?.end();
  return promise;
}

/** What the runtime failed with, if it did: an exit status alone could be that of the script. */
function errorIn(log: string): string | undefined {
  const lines = existsSync(log) ? readFileSync(log, 'utf8').split('\n').filter(Boolean) : [];
  const entries: { level: string; msg: string }[] = lines.map((line) => JSON.parse(line));
  return entries.findLast(({ level }) => level === 'error')?.msg;
}

/** On cgroup v1 there is one hierarchy per controller. */
function expectNoCgroups(name: string): void {
  const root = '/sys/fs/cgroup';
  const left = ['', ...readdirSync(root)].map((folder) => join(root, folder, name)).filter(existsSync);
  if (left.length > 0) throw new Error(`cgroups are left: ${left.join(', ')}`);
}
