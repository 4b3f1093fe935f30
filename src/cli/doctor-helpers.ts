// The FUSE helpers of a node, for `doctor`.
import { existsSync } from 'node:fs';
import { fuseHostAt } from '../fuse-host/client.ts';
import { messageOf } from '../mount/errors.ts';
import { Helper_State } from '../rpc/generated/fusehost.ts';
import { VERSION } from '../version.ts';

export interface Helper {
  readonly name: string;
  readonly target: string;
  readonly volumeId: string;
  readonly state: string;
  readonly pids: readonly number[];
  readonly end: string;
  /** Its last words. */
  readonly output: string;
}

/** Undefined where there is no fuse-host; a text: what is wrong with it. */
export async function helpersAt(socket: string): Promise<readonly Helper[] | string | undefined> {
  if (!existsSync(socket)) return undefined;
  const host = fuseHostAt({ socket, version: VERSION });
  try {
    const helpers = await host.list();
    return await Promise.all(
      helpers.map(async ({ name, target, volumeId, state, pids, end }) => {
        const stateName = Object.entries(Helper_State).find(([, number]) => number === state)?.[0] ?? '';
        const output = await host.output(target);
        return { name, target, volumeId, state: stateName.toLowerCase(), pids, end, output };
      }),
    );
  } catch (error) {
    return messageOf(error);
  }
}

export function describeHelpers(helpers: readonly Helper[] | string): string {
  if (typeof helpers === 'string') return `\n  ${helpers}`;
  if (helpers.length === 0) return ': no helpers';
  return helpers
    .map(({ name, target, volumeId, state, pids, end, output }) => {
      const facts = [
        `${name} ${state}`,
        `volume ${volumeId}`,
        target,
        pids.length > 0 ? `processes ${pids.join(', ')}` : end,
      ];
      return `\n  ${facts.join('; ')}${output === '' ? '' : `\n    said: ${output}`}`;
    })
    .join('');
}
