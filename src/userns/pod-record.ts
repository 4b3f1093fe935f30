// Kubelet's record of a pod's ID mapping: <kubelet dir>/pods/<uid>/userns (kubelet-record.ts says what is in it).
//
// Kubelet writes it just before it makes the sandbox, after it has published the pod's volumes for the first time; into
// place at once (rename), and takes it away after it has unmounted them. No link is followed below the kubelet
// directory, which may be one itself.
//
// Reads on this thread: the kubelet directory is on a filesystem of the node, not on a volume. Nothing here goes down
// to where volumes are mounted.
import { openSync, readSync } from 'node:fs';
import { AT_FDCWD, O, S_IF } from '../sys/constants.ts';
import { hasErrno, SyscallError } from '../sys/errors.ts';
import { Fd } from '../sys/fd.ts';
import { kindOf, openBelow, openPathAt } from '../sys/open-below.ts';
import { invalid, type PodRecord, parsePodRecord } from './kubelet-record.ts';
import { isPodUid } from './pod-uid.ts';

export interface RecordedPod {
  readonly kubeletDir: string;
  /** Of the volume context; that it is the target's too (podUidOfTarget()) is for the caller to see. */
  readonly podUid: string;
}

/** @throws SyscallError where it cannot be known: no kubelet directory, no descriptors left */
export function readPodRecord(pod: RecordedPod): PodRecord {
  const found = lookForPodRecord(pod);
  return found.is === 'gone' ? { is: 'none' } : found;
}

/** @throws SyscallError as readPodRecord() */
export function lookForPodRecord({ kubeletDir, podUid }: RecordedPod): PodRecord | { readonly is: 'gone' } {
  if (!isPodUid(podUid)) return invalid(`${JSON.stringify(podUid)} is no uid of a pod`);
  const below = `pods/${podUid}`;
  using kubelet = openKubeletDir(kubeletDir);
  try {
    using directory = openBelow(kubelet, below);
    return recordIn(directory, `${below}/userns`);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return { is: 'gone' };
    if (hasErrno(error, 'ELOOP', 'ENOTDIR')) return invalid(`${below} is no directory, or behind a link`);
    throw error;
  }
}

function openKubeletDir(path: string): Fd {
  try {
    return openPathAt(AT_FDCWD, path, O.O_DIRECTORY);
  } catch (error) {
    if (!(error instanceof SyscallError) || !hasErrno(error, 'ENOENT', 'ENOTDIR')) throw error;
    throw error.explain('the kubelet directory is not there; set it to the root directory of kubelet');
  }
}

function recordIn(directory: Fd, name: string): PodRecord {
  using record = openIfThere(directory, 'userns');
  if (record === undefined) return { is: 'none' };
  if (kindOf(record) !== S_IF.S_IFREG) return invalid(`${name} is no regular file`);
  const text = contentOf(record);
  if (text === undefined) return invalid(`${name} is longer than ${LONGEST} bytes`);
  const read = parsePodRecord(text);
  return read.is === 'invalid' ? invalid(`${name}: ${read.because}`) : read;
}

function openIfThere(directory: Fd, name: string): Fd | undefined {
  try {
    return openPathAt(directory, name, O.O_NOFOLLOW);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** Kubelet's has about 130. */
const LONGEST = 4096;

function contentOf(file: Fd): string | undefined {
  using readable = new Fd(openSync(`/proc/self/fd/${file.number}`, 'r'));
  const buffer = Buffer.alloc(LONGEST + 1);
  const length = readSync(readable.number, buffer);
  return length > LONGEST ? undefined : buffer.toString('utf8', 0, length);
}
