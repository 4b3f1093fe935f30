// `doctor`: what this kernel and machine support, and what is missing for what; with a policy file, what it allows; on a
// node, whether its container runtime has NRI, its volumes and fuse-host's helpers. Exit status 1 when something is missing
// for which there is no other way, or the file is no policy.
import { release } from 'node:os';
import { PLACE_OPTIONS, readOptions } from '../config.ts';
import { describePolicy } from '../policy/describe.ts';
import { readPolicyFile } from '../policy/file.ts';
import { FEATURES, type FeatureName, probeFeature } from '../sys/features.ts';
import { describeHelpers, helpersAt } from './doctor-helpers.ts';
import { describeNri, nriAt } from './doctor-nri.ts';
import { describeVolumes, volumesAt } from './doctor-volumes.ts';
import { table } from './table.ts';

export interface DoctorFlags {
  readonly json?: boolean;
  /** A file. */
  readonly policy?: string;
}

/**
 * @param places flags of PLACE_OPTIONS
 * @throws Error naming the policy file and all that is wrong with it, or the flag or variable that cannot be read
 */
export async function doctorCommand(
  places: Readonly<Record<string, string | undefined>>,
  { json, policy: file }: DoctorFlags,
): Promise<void> {
  const { stateDir, fuseHostSocket, nriSocket } = readOptions(PLACE_OPTIONS, places, process.env);
  const policy = file === undefined ? undefined : describePolicy(readPolicyFile(file).policy);
  const names = Object.keys(FEATURES) as FeatureName[];
  const findings = names.map((name) => {
    const { since, neededFor, without, how, essential } = FEATURES[name];
    return { name, ...probeFeature(name), since, neededFor, without, how, essential };
  });
  const helpers = await helpersAt(fuseHostSocket);
  const nri = await nriAt(nriSocket);
  const volumes = volumesAt(stateDir);
  if (json) {
    const all = {
      kernel: release(),
      architecture: process.arch,
      features: findings,
      policy,
      helpers,
      nri,
      volumes,
    };
    console.log(JSON.stringify(all, null, 2));
  } else {
    console.log(
      `Linux ${release()} ${process.arch}, ${process.getuid?.() === 0 ? 'as root' : 'not as root'}\n`,
    );
    const rows = findings.map(({ name, here, since, neededFor }) => [name, here, since, neededFor]);
    console.log(table(['feature', 'here', 'since', 'needed for'], rows));
    for (const finding of findings) {
      const found = finding.here === 'yes' ? '' : `\n  found: ${finding.because}`;
      console.log(`\n${finding.name}\n  probed by ${finding.how}${found}\n  without it: ${finding.without}`);
    }
    console.log(`\n${describeNri(nri)}`);
    if (volumes !== undefined) console.log(`\nvolumes by ${stateDir}${describeVolumes(volumes)}`);
    if (helpers !== undefined) console.log(`\nfuse-host at ${fuseHostSocket}${describeHelpers(helpers)}`);
    if (policy !== undefined) console.log(`\npolicy ${file}\n\n${policy}`);
  }
  if (findings.some(({ here, essential }) => essential && here === 'no')) process.exitCode = 1;
}
