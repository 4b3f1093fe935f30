// Containers by the calls alone that a runtime makes for the volumes of a pod, without a runtime: what decides whether
// a container starts is the ID map of the top mount.
//
//   open_tree(source, OPEN_TREE_CLONE | AT_RECURSIVE); mount_setattr(MS_PRIVATE or MS_SLAVE, AT_RECURSIVE)
//   mount_setattr(MOUNT_ATTR_IDMAP), not recursive; move_mount()
//
// The process is in the user namespace, with a root directory of its own, and else on the host.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { AT_FDCWD, MOUNT_ATTR, MOVE_MOUNT, OPEN_TREE, PROPAGATION } from '../../src/sys/constants.ts';
import { SyscallError } from '../../src/sys/errors.ts';
import type { Fd } from '../../src/sys/fd.ts';
import { mountSetattr, moveMount, openTree } from '../../src/sys/syscalls.ts';
import { createUserNamespace } from '../../src/userns/create.ts';
import { parseIdMapping } from '../../src/userns/mapping.ts';
import {
  type ContainerOutcome,
  type ContainerSpec,
  type ContainerVolume,
  makeRoot,
  type Runtime,
} from './container.ts';
import { mountPlace, type TemporaryDirectory, unmountCommand } from './fixtures.ts';
import { needRoot, needTool } from './need.ts';
import { scaled } from './time-scale.ts';

/** Longer than any script of a test. */
const TIMEOUT_MS = scaled(60_000);

export async function bareRuntime(context: Mocha.Context): Promise<Runtime> {
  needRoot(context, 'containers');
  needTool(context, 'busybox', 'what runs in the containers');
  const place = mountPlace();
  let count = 0;
  return {
    run: (spec) => runBare(place, `${++count}`, spec),
    [Symbol.dispose]: () => place[Symbol.dispose](),
  };
}

async function runBare(
  place: TemporaryDirectory,
  name: string,
  spec: ContainerSpec,
): Promise<ContainerOutcome> {
  const root = place.at(name);
  makeRoot(root, spec);
  execFileSync('mknod', ['-m', '666', join(root, 'dev/null'), 'c', '1', '3']);
  using namespaces = new DisposableStack();
  const namespace = spec.mapping === undefined ? undefined : namespaces.use(namespaceOf(spec.mapping));
  using mounted = new DisposableStack();
  try {
    for (const volume of spec.volumes) {
      bind(volume, join(root, volume.destination), namespace);
      mounted.defer(() => unmountCommand('--recursive', '--lazy', join(root, volume.destination)));
    }
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    return { started: false, problem: error.message };
  }
  return { started: true, ...(await enter(root, spec, namespace)) };
}

function namespaceOf(mapping: string): Fd {
  const ids = parseIdMapping(mapping, 'mapping');
  return createUserNamespace({ uid: ids, gid: ids });
}

/** @throws SyscallError where a runtime would give up */
function bind(volume: ContainerVolume, target: string, namespace: Fd | undefined): void {
  const { source, readOnly = false, mountPropagation = 'None' } = volume;
  const { OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, AT_RECURSIVE } = OPEN_TREE;
  using tree = openTree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  const none = { set: 0, clear: 0, propagation: 0, usernsFd: 0 };
  const propagation = mountPropagation === 'None' ? PROPAGATION.MS_PRIVATE : PROPAGATION.MS_SLAVE;
  mountSetattr(tree, AT_RECURSIVE, { ...none, propagation });
  if (namespace !== undefined) {
    mountSetattr(tree, 0, { ...none, set: MOUNT_ATTR.MOUNT_ATTR_IDMAP, usernsFd: namespace.number });
  }
  if (readOnly) mountSetattr(tree, 0, { ...none, set: MOUNT_ATTR.MOUNT_ATTR_RDONLY });
  moveMount(tree, '', AT_FDCWD, target, MOVE_MOUNT.MOVE_MOUNT_F_EMPTY_PATH);
}

async function enter(
  root: string,
  { uid = 0, gid = uid, groups = [], script }: ContainerSpec,
  namespace: Fd | undefined,
): Promise<{ status: number; stdout: string; stderr: string }> {
  const into = ['nsenter', '--user=/proc/self/fd/3', '--setuid', '0', '--setgid', '0', '--'];
  const become = ['chroot', `--userspec=${uid}:${gid}`, `--groups=${[gid, ...groups].join(',')}`, root];
  const [command = '', ...args] = [...(namespace ? into : []), ...become, '/bin/sh', '-c', script];
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe', namespace?.number ?? 'ignore'],
    env: { PATH: `${process.env.PATH}:/bin` },
    timeout: TIMEOUT_MS,
  });
  const [stdout, stderr, [status, signal]] = await Promise.all([
    child.stdout === null ? '' : text(child.stdout),
    child.stderr === null ? '' : text(child.stderr),
    once(child, 'close'),
  ]);
  if (signal !== null) throw new Error(`the process of a container was ended by ${signal}: ${stderr}`);
  return { status, stdout, stderr };
}
