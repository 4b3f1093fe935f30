// What the policy is asked about a volume, beyond the volume itself: what this node knows.
import { realpathSync } from 'node:fs';
import type { Journal } from '../journal/journal.ts';
import { authorize } from '../policy/authorize.ts';
import type { Grant, Policy } from '../policy/policy.ts';
import type { Volume } from '../volume/volume.ts';
import type { PublishesUnderWay } from './under-way.ts';

export interface AuthorizedRequest {
  readonly volumeId: string;
  /** Nobody can write by it: its access mode, or `readonly`. */
  readonly readOnly: boolean;
}

/** @throws PolicyError */
export type Authorize = (volume: Volume, request: AuthorizedRequest) => Grant;

export interface AuthorizationOptions {
  readonly policy: () => Policy;
  readonly journal: Journal;
  readonly underWay: PublishesUnderWay;
  /** Never shown in a volume, nor what they lead to. */
  readonly directories: readonly string[];
}

export function authorization({ policy, directories, ...known }: AuthorizationOptions): Authorize {
  const forbidden = withWhatTheyLeadTo(directories);
  return (volume, { volumeId, readOnly }) => {
    const { pod } = volume;
    const volumesOfNamespace = pod === undefined ? 0 : countOthers(known, pod.namespace, volumeId);
    return authorize(policy(), volume, { volumesOfNamespace, forbidden, readOnly });
  };
}

function countOthers(
  { journal, underWay }: Pick<AuthorizationOptions, 'journal' | 'underWay'>,
  namespace: string,
  volumeId: string,
): number {
  const published = journal
    .all()
    .filter(({ kind, pod }) => kind === 'publish' && pod?.namespace === namespace)
    .map((record) => record.volumeId);
  // One that has its place does not lose it to those that come.
  const coming = published.includes(volumeId) ? [] : underWay.volumesOf(namespace);
  const volumes = new Set([...published, ...coming]);
  volumes.delete(volumeId);
  return volumes.size;
}

/** The kubelet's directory may be a link, which must not be a way round. */
export const withWhatTheyLeadTo = (directories: readonly string[]): string[] => [
  ...new Set(directories.flatMap((directory) => [directory, ...resolved(directory)])),
];

function resolved(directory: string): string[] {
  try {
    return [realpathSync(directory)];
  } catch {
    // It is not there yet, and leads nowhere.
    return [];
  }
}
