// A kernel that lacks some features, for tests and for the processes that they start (which are told a list).
import { probeFeature } from '../../../src/sys/features.ts';
import type { CreateOptions } from '../../../src/userns/create.ts';

/** What is not listed is found out here. */
export function without(list: readonly string[] | string = []): CreateOptions {
  const features = typeof list === 'string' ? list.split(',') : list;
  return { has: (feature) => !features.includes(feature) && probeFeature(feature).here !== 'no' };
}
