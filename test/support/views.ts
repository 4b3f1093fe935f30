// The ways to look at mounts that this kernel and this run have, for tests that hold one against the other.
import { type MountView, mountinfoView, statmountView } from '../../src/mount/view.ts';
import { kernelIsBefore } from './kernel-version.ts';
import { maskedCalls } from './need.ts';

export const statmountIsMasked: boolean =
  maskedCalls.includes('statmount') || maskedCalls.includes('listmount');

/** Before 6.13 statmount(2) tells too little to be one of them. */
export const VIEWS: readonly MountView[] =
  statmountIsMasked || kernelIsBefore('6.13') ? [mountinfoView] : [statmountView, mountinfoView];
