// The ids of a pod whose sandbox is there: kubelet's record, which it has written by now, held against what the runtime
// says of the sandbox, and against the namespace that it has.
//
//   kubelet's record   the sandbox has      the pod is
//   mapped             that mapping         with a user namespace
//   mapped             another, or none     refused: one of them is wrong
//   mapped             cannot be asked      with a user namespace
//   none               a user namespace     refused: whose ids these are is not known
//   none               none; unknown        on the host
//   invalid            anything             refused
import { readlinkSync } from 'node:fs';
import type { PodSandbox } from '../rpc/generated/nri.ts';
import type { UserMapping } from '../userns/mapping.ts';
import { readPodRecord } from '../userns/pod-record.ts';
import {
  expectMapping,
  namespaceAtPath,
  namespaceOfProcess,
  SandboxError,
  type SandboxNamespace,
} from '../userns/sandbox.ts';
import type { NodeDependencies } from './dependencies.ts';

/**
 * Undefined for a pod in the host's user namespace.
 * @throws Error that says why the ids are not known
 */
export function idsOfSandbox(
  pod: PodSandbox,
  { kubeletDir }: Pick<NodeDependencies, 'kubeletDir'>,
): UserMapping | undefined {
  const record = readPodRecord({ kubeletDir, podUid: pod.uid });
  if (record.is === 'invalid') {
    throw new Error(`kubelet's record of the pod's user namespace: ${record.because}`);
  }
  const found = sandboxOf(pod);
  if (record.is === 'mapped') {
    if (found.is === 'host') {
      throw new Error('kubelet has recorded ids of a user namespace, and the sandbox has none');
    }
    if (found.mapping !== undefined) expectMapping(found.mapping, record.mapping);
    return record.mapping;
  }
  if (found.is !== 'own') return undefined;
  throw new Error('the sandbox has a user namespace, and kubelet has not recorded its ids');
}

type Sandbox =
  | { readonly is: 'host'; readonly mapping?: undefined }
  /** Its mapping, where the kernel could be asked. */
  | { readonly is: 'own'; readonly mapping: UserMapping | undefined }
  | { readonly is: 'unknown'; readonly mapping?: undefined };

function sandboxOf({ linux, pid }: PodSandbox): Sandbox {
  const namespaces = linux?.namespaces ?? [];
  const user = namespaces.find(({ type }) => type === 'user');
  if (namespaces.length > 0 && user === undefined) return { is: 'host' };
  const asked = askKernel(user?.path ?? '', pid);
  return asked.is === 'unknown' && user !== undefined ? { is: 'own', mapping: undefined } : asked;
}

function askKernel(path: string, pid: number): Sandbox {
  if (!countsAsHost()) return { is: 'unknown' };
  try {
    if (path !== '') return told(namespaceAtPath(path));
    return pid === 0 ? { is: 'unknown' } : told(namespaceOfProcess(pid));
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error;
    if (error.reason === 'own-namespace') return { is: 'host' };
    if (error.reason === 'process-gone') return { is: 'unknown' };
    throw error;
  }
}

function told(namespace: SandboxNamespace): Sandbox {
  using sandbox = namespace;
  return { is: 'own', mapping: sandbox.mapping };
}

/** PROC_PID_INIT_INO (linux/proc_ns.h). */
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]';

/** In a container that counts processes of its own, the number of the sandbox's is another process's. */
const countsAsHost = (): boolean => readlinkSync('/proc/self/ns/pid') === INITIAL_PID_NAMESPACE;
