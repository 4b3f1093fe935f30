// Gives an empty directory a group and a mode: the upper layer of an overlay that nobody has written to yet. One with
// anything in it is somebody's, and stays as it is.
import { fchmodSync, fchownSync, readdirSync } from 'node:fs';
import { O, STATX, STATX_MASK } from '../sys/constants.ts';
import { openat, statx } from '../sys/syscalls.ts';
import { openSource } from './inspect.ts';
import type { SourceRequest } from './source.ts';

export interface OwnEmptyRequest extends SourceRequest {
  readonly source: string;
  readonly gid: number;
  /** With the set-group-id bit: 0o2775. */
  readonly mode: number;
}

export interface OwnEmptyResult {
  /** False: there is something in it. */
  readonly owned: boolean;
}

/** @throws MountError (source-not-found, source-outside-roots), SyscallError */
export function ownEmpty(request: OwnEmptyRequest): OwnEmptyResult {
  using place = openSource(request);
  using directory = openat(place, '.', O.O_DIRECTORY);
  if (readdirSync(`/proc/self/fd/${directory.number}`).length > 0) return { owned: false };
  const { uid } = statx(directory, '', STATX.AT_EMPTY_PATH, STATX_MASK.STATX_BASIC_STATS);
  fchownSync(directory.number, uid, request.gid);
  // After the owner, whose change takes the set-id bits away.
  fchmodSync(directory.number, request.mode);
  return { owned: true };
}
