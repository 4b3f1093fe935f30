// Tests of a real node (test/cluster) are about that as it is, with what runs on it: they are in its mount namespace
// (test/cluster/hooks.ts) and get none of their own (isolation.ts), and what its container runtime does in its own time is not theirs.

/** As `npm run test:cluster` says. */
export const isOnHost = (): boolean => process.env.TEST_MOUNT_NAMESPACE === 'host';

/**
 * Sandboxes of pods that are gone stay until kubelet clears them away, once a minute; and the driver's pod, which each
 * installation makes anew, has volumes that are kubelet's.
 */
const OF_THE_RUNTIME =
  /^\/(run|var\/run)\/netns\/|\/run\/containerd\/state\/|\/volumes\/kubernetes\.io~(projected|empty-dir)\//;

export const isTheRuntimes = (mountTarget: string): boolean => isOnHost() && OF_THE_RUNTIME.test(mountTarget);
