// Why a request fails: one table from reason to gRPC code, and one function that every error of the service goes
// through. docs/errors.md is generated from it. A reason is never reused for something else.
//
// Kubelet takes CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED as "the outcome is not
// known, clean up", and every other code as "nothing is mounted". So the code of the table is only used when all
// that was done has been undone; else the answer is an uncertain one.
import { FuseHostError } from '../fuse-host/client.ts';
import { StateError } from '../journal/durable.ts';
import { MountError, type MountReason, messageOf } from '../mount/errors.ts';
import { PolicyError } from '../policy/policy.ts';
import { StatusError } from '../rpc/status.ts';
import { VolumeError } from '../volume/errors.ts';

type FailureCode = StatusError['code'];

export interface ReasonRow {
  readonly code: FailureCode;
  /** Whether the same request may succeed later without anybody changing it. */
  readonly retryable: boolean;
  readonly meaning: string;
  readonly remedy: string;
}

export type RequestReason =
  | 'missing-field'
  | 'invalid-field'
  | 'invalid-volume'
  | 'refused-by-policy'
  | 'operation-pending'
  | 'other-parameters'
  | 'published-elsewhere'
  | 'target-in-use'
  | 'not-staged'
  | 'volume-not-found'
  | 'record-lost'
  | 'pod-unknown'
  | 'pod-user-namespace'
  | 'nri-unavailable'
  | 'out-of-range'
  | 'unseen-mounts'
  | 'state-not-writable'
  | 'fuse-host-away'
  | 'fuse-host-version'
  | 'unexpected';

export type Reason = MountReason | RequestReason;

export const REASONS: { readonly [R in Reason]: ReasonRow } = {
  'missing-field': {
    code: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'A field that the CSI specification requires is empty.',
    remedy: 'A defect of the caller: kubelet always sends it.',
  },
  'invalid-field': {
    code: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'A field of the request has a value that the driver does not support.',
    remedy: 'Change the volume as the message says (access type, access mode, path).',
  },
  'invalid-volume': {
    code: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'A key of volumeAttributes is unknown, missing or has a wrong value.',
    remedy: 'Correct the key that the message names; docs/volume-context.md lists them all.',
  },
  'refused-by-policy': {
    code: 'PERMISSION_DENIED',
    retryable: false,
    meaning: 'The volume is well-formed, but its author may not have it.',
    remedy: 'Use what the message suggests, or have an administrator provide a PersistentVolume.',
  },
  'operation-pending': {
    code: 'ABORTED',
    retryable: true,
    meaning: 'Another call for the same volume is still at work.',
    remedy: 'None: kubelet tries again.',
  },
  'other-parameters': {
    code: 'ALREADY_EXISTS',
    retryable: false,
    meaning: 'The volume is already at this path, with other parameters.',
    remedy: 'Unpublish or unstage it first; two volumes must not share an id.',
  },
  'published-elsewhere': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The access mode allows one target at a time, and the volume is published at another.',
    remedy: 'Delete the other pod, or use ReadWriteMany or ReadOnlyMany.',
  },
  'target-in-use': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'Another volume is mounted at this path.',
    remedy: 'A defect of the caller: unpublish that volume first.',
  },
  'not-staged': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning:
      'Nothing is mounted at the staging path of the request: the volume was never staged, or somebody else has unmounted it.',
    remedy:
      'Kubelet stages the volume again once no pod of the node has it, or after its own restart. Let nobody unmount below the kubelet directory by hand.',
  },
  'volume-not-found': {
    code: 'NOT_FOUND',
    retryable: false,
    meaning: 'No volume of this id is mounted at this path.',
    remedy: 'None: the volume has been unpublished.',
  },
  'record-lost': {
    code: 'UNAVAILABLE',
    retryable: true,
    meaning:
      'The volume is mounted, but its record is lost, and with it what the volume is and how large it may become.',
    remedy:
      'Restart kubelet on the node: it stages and publishes again what its pods have, which records it.',
  },
  'state-not-writable': {
    code: 'UNAVAILABLE',
    retryable: true,
    meaning: 'The state directory takes no record, so nothing was begun.',
    remedy: 'The message says why: a full disk, mostly. Make room, or move --state-dir.',
  },
  'fuse-host-away': {
    code: 'UNAVAILABLE',
    retryable: true,
    meaning:
      'FUSE volumes are mounted by fuse-host (--fuse-mode host), which does not answer. Others are served.',
    remedy: 'See to the pod of fuse-host on this node, and to --fuse-host-socket; see docs/fuse.md.',
  },
  'fuse-host-version': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The driver and fuse-host are of versions that do not understand each other. Others are served.',
    remedy: 'Replace the one that the message names; a new fuse-host cuts the mounts of the old one.',
  },
  'pod-unknown': {
    code: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'The volume needs to know its pod, and the request does not name one.',
    remedy: 'Set podInfoOnMount: true in the CSIDriver object (the chart does).',
  },
  'pod-user-namespace': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The volume has an ID mapping of its own, and its pod has, or may have, a user namespace.',
    remedy:
      'Remove the mapping or use `idmap: pod`; or let the driver ask the API server about pods; see docs/user-namespaces.md.',
  },
  'nri-unavailable': {
    code: 'UNAVAILABLE',
    retryable: true,
    meaning:
      "The volume needs the container runtime's Node Resource Interface (`--user-namespaces nri`), and the runtime has not registered the driver there.",
    remedy:
      'The message says why. Switch NRI on in the runtime, check --nri-socket, or use `--user-namespaces auto`.',
  },
  'unseen-mounts': {
    code: 'UNAVAILABLE',
    retryable: true,
    meaning: 'What the driver mounts would not be seen outside of its container.',
    remedy: 'Mount the kubelet directory into it with mountPropagation: Bidirectional, as the chart does.',
  },
  'out-of-range': {
    code: 'OUT_OF_RANGE',
    retryable: false,
    meaning: 'The volume cannot have the size that is asked for.',
    remedy: 'Ask for a size within the limits that the message names.',
  },
  'invalid-mount': {
    code: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'The kernel or the engine cannot make sense of an option, mapping or layer.',
    remedy: 'Correct what the message names.',
  },
  'source-not-found': {
    code: 'NOT_FOUND',
    retryable: true,
    meaning: 'A source, layer or upper directory of the volume does not exist on this node.',
    remedy: 'Create it on the node, or schedule the pod where it is.',
  },
  'source-outside-roots': {
    code: 'PERMISSION_DENIED',
    retryable: false,
    meaning:
      'A source, layer or image lies outside of the directories that the policy allows, or a symbolic link on its way leads out of them.',
    remedy: 'Move it below one of them, and make links relative; or have an administrator allow the place.',
  },
  'source-not-mounted': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The policy wants a disk mounted where the source lies, and there is none.',
    remedy:
      'Mount the disk on the node: without it the volume would be empty, and what is written would be hidden.',
  },
  'bad-target': {
    code: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'The target path does not lie below the kubelet directory, leads through a symbolic link, or is of the wrong kind.',
    remedy: "Check that --kubelet-dir is the kubelet's --root-dir.",
  },
  'target-not-empty': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning:
      'The target directory holds files although nothing is mounted there, and they could not be moved to `<state dir>/set-aside`, as the driver does with such files (Event `TargetNotEmpty`).',
    remedy:
      'Move them away by hand: they were written to the node, not to the volume. The message says why the driver could not: mostly, that the state directory is on another filesystem than the kubelet directory, or by another mount.',
  },
  'kernel-unsupported': {
    code: 'FAILED_PRECONDITION',
    retryable: false,
    meaning: 'The kernel of this node lacks something that the volume needs.',
    remedy:
      'Run `csi-driver-idmap doctor` on the node: it says what is missing and since which kernel it exists.',
  },
  'idmap-unsupported': {
    code: 'INVALID_ARGUMENT',
    retryable: false,
    meaning:
      'The filesystem of the source cannot be ID-mapped, or is already; or what is mounted below it is not mapped as it is.',
    remedy:
      'Map the layers of an overlay instead of the overlay, or keep the data on ext4, xfs, btrfs or tmpfs.',
  },
  'not-permitted': {
    code: 'FAILED_PRECONDITION',
    retryable: false,
    meaning: 'The driver lacks a privilege.',
    remedy:
      'Run it privileged, as the chart does; look for seccomp, AppArmor or SELinux denials on the node.',
  },
  busy: {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'A mount stays in use and cannot be removed.',
    remedy: 'End the process that uses it; `fuser -m PATH` names it.',
  },
  'upperdir-in-use': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'Another overlay on this node has the same upperdir.',
    remedy: 'Give each volume an upperdir of its own, or unpublish the other one.',
  },
  'not-writable': {
    code: 'FAILED_PRECONDITION',
    retryable: false,
    meaning: 'An overlay or image that should be writable would be read-only.',
    remedy:
      'Put upperdir and workdir on a writable filesystem that is not ID-mapped; mount a read-only image with ro.',
  },
  'image-in-use': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The image is in use on this node already, in a way that excludes this one.',
    remedy:
      'All users of an image must agree on read-only or not; the message names the device (losetup -l shows all).',
  },
  'bad-image': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The image holds no filesystem, another one than was said, or a damaged one.',
    remedy: 'Check it on the node with `blkid -p` and the fsck of its type.',
  },
  'image-damaged': {
    code: 'FAILED_PRECONDITION',
    retryable: false,
    meaning: 'The filesystem in the image is damaged in a way that its checker does not mend by itself.',
    remedy: 'Copy the image, then run the checker that the message names by hand; or take a good copy.',
  },
  'cannot-grow': {
    code: 'FAILED_PRECONDITION',
    retryable: false,
    meaning: 'The volume is of a kind that cannot be made larger while it is mounted.',
    remedy: 'The message says why; make a larger volume and copy the data.',
  },
  'program-missing': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'A program that the volume needs is not installed where the driver runs.',
    remedy: 'Install the program that the message names.',
  },
  'program-failed': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'A program that makes or checks filesystems failed.',
    remedy: 'The message holds its exit status and its own words.',
  },
  'wrong-mount': {
    code: 'ABORTED',
    retryable: true,
    meaning: 'Something else was mounted at the target at the same moment.',
    remedy: 'Find out what else mounts below the kubelet directory.',
  },
  'helper-not-found': {
    code: 'FAILED_PRECONDITION',
    retryable: false,
    meaning: 'The program that mounts this FUSE filesystem is not installed on the node.',
    remedy:
      'Install it where the message says: in one of its directories, or at the path that the policy gives.',
  },
  'helper-failed': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The program that mounts this FUSE filesystem failed, or its filesystem came up dead.',
    remedy: 'The message holds its exit status and its own words.',
  },
  timeout: {
    code: 'DEADLINE_EXCEEDED',
    retryable: true,
    meaning: 'The kernel did not answer in time: a filesystem hangs.',
    remedy: 'Look at the server or helper of the source filesystem.',
  },
  'engine-lost': {
    code: 'UNAVAILABLE',
    retryable: true,
    meaning: 'The process that carries out mounts ended in the middle.',
    remedy: 'None: the next try has a new one. If it repeats, look for the OOM killer in the kernel log.',
  },
  'node-exhausted': {
    code: 'RESOURCE_EXHAUSTED',
    retryable: true,
    meaning:
      'The node has run out of something that the volume needs: memory, processes, processor time, open files, user namespaces, room on a disk.',
    remedy: 'The message holds what failed and what there is too little of; it is tried again.',
  },
  'mount-failed': {
    code: 'FAILED_PRECONDITION',
    retryable: true,
    meaning: 'The kernel refused a mount for another reason.',
    remedy: 'The message holds the call, its errno and what the kernel says.',
  },
  unexpected: {
    code: 'UNAVAILABLE',
    retryable: true,
    meaning: 'A failure that the driver did not foresee.',
    remedy: 'Report it, with the log line that has the same request id.',
  },
};

/** A request that cannot be served, found by the service itself. */
export class NodeError extends Error {
  override readonly name = 'NodeError';
  readonly reason: RequestReason;

  constructor(reason: RequestReason, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** Whatever a handler throws, as what the caller is told. */
export function toStatus(error: unknown): StatusError {
  if (error instanceof StatusError) return error;
  const message = messageOf(error);
  return new StatusError({ code: codeOf(error), message, cause: error });
}

function codeOf(error: unknown): FailureCode {
  if (error instanceof NodeError) return REASONS[error.reason].code;
  if (error instanceof VolumeError) return REASONS['invalid-volume'].code;
  if (error instanceof StateError) return REASONS['state-not-writable'].code;
  if (error instanceof PolicyError) return REASONS['refused-by-policy'].code;
  if (error instanceof FuseHostError) return REASONS[OF_FUSE_HOST[error.why]].code;
  if (!(error instanceof MountError)) return REASONS.unexpected.code;
  const { code } = REASONS[error.reason];
  return error.rolledBack || UNCERTAIN.has(code) ? code : 'UNAVAILABLE';
}

const OF_FUSE_HOST: Readonly<Record<FuseHostError['why'], RequestReason>> = {
  away: 'fuse-host-away',
  version: 'fuse-host-version',
  failed: 'unexpected',
};

/** Kubelet takes it as "not known, clean up". */
export const isUncertain = (code: FailureCode): boolean => UNCERTAIN.has(code);

const UNCERTAIN: ReadonlySet<FailureCode> = new Set<FailureCode>([
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
  'RESOURCE_EXHAUSTED',
  'ABORTED',
]);
