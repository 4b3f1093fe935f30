// Who may mount what. Fails closed: what no rule allows is refused.
//
//   class        author           may
//   persistent   administrator    every type; options of policy/options.ts
//   inline       author of a pod  tmpfs without an ID mapping: nothing of the node is reachable through it
import type { SourceRoot } from '../mount/source.ts';
import type { Volume } from '../volume/volume.ts';
import { optionProblem } from './options.ts';

export class PolicyError extends Error {
  override readonly name = 'PolicyError';
}

export interface Grant {
  readonly sourceRoots: readonly SourceRoot[];
  readonly options: readonly string[];
  readonly sizeLimit: number | undefined;
}

/** @throws PolicyError saying what is refused and what to do instead */
export function authorize(volume: Volume): Grant {
  for (const option of volume.options) {
    const problem = optionProblem(volume.type, option);
    if (problem !== undefined) throw new PolicyError(problem);
  }
  if (volume.inline && volume.kind !== 'tmpfs') {
    throw new PolicyError(
      `type ${volume.type} is not allowed in an inline volume, whose author is the pod's; use a PersistentVolume`,
    );
  }
  if (volume.inline && volume.idmap.is !== 'none') {
    throw new PolicyError('uidmap and gidmap are not allowed in an inline volume; use a PersistentVolume');
  }
  const limit = 'sizeLimit' in volume ? volume.sizeLimit : undefined;
  const layer =
    volume.kind === 'overlay' && volume.writable.is === 'ephemeral' ? volume.writable.sizeLimit : undefined;
  return { sourceRoots: [{ path: '/' }], options: ['nosuid', 'nodev'], sizeLimit: limit ?? layer };
}
