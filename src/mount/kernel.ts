// What plans may count on: the features of this kernel, less those that the caller has switched off. Each is tried
// once, when it is first asked for. A plan is made from these answers alone.
import { type FeatureName, probeFeature } from '../sys/features.ts';

/** Which calls make mounts: `modern` is open_tree(2) and its kin, `classic` is mount(2). */
export type MountApi = 'modern' | 'classic';

export interface Kernel {
  readonly has: (feature: FeatureName) => boolean;
  /** Set when the caller insists on one way. */
  readonly api: MountApi | undefined;
}

/** Plain data, for a kernel that is looked at by another process. */
export interface KernelOptions {
  readonly api?: MountApi | undefined;
  readonly disabled?: readonly FeatureName[];
  /** What a feature counts as that this process may not try: for plans made without root. Default: missing. */
  readonly untried?: 'available' | 'missing';
}

export function kernelHere({ api, disabled = [], untried = 'missing' }: KernelOptions = {}): Kernel {
  const found = new Map<FeatureName, boolean>();
  return {
    api,
    has(feature) {
      const known = found.get(feature);
      if (known !== undefined) return known;
      if (disabled.includes(feature)) return false;
      const { here } = probeFeature(feature);
      // The call itself says best what is wrong; and what the node has is not forgotten for one bad moment.
      if (here === 'not-now') return true;
      const has = here === 'unknown' ? untried === 'available' : here === 'yes';
      found.set(feature, has);
      return has;
    },
  };
}

/** A kernel with exactly these features: for plans of another machine, and for tests. */
export function kernelWith(features: readonly FeatureName[], api?: MountApi): Kernel {
  return { api, has: (feature) => features.includes(feature) };
}
