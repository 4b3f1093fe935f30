// `doctor`: what this kernel and machine support, and what is missing for what. Exit status 1 when something is missing
// for which there is no other way.
import { release } from 'node:os';
import { FEATURES, type FeatureName, probeFeature } from '../sys/features.ts';
import { table } from './table.ts';

export function doctorCommand({ json }: { readonly json?: boolean }): void {
  const names = Object.keys(FEATURES) as FeatureName[];
  const findings = names.map((name) => {
    const { since, neededFor, without, how, essential } = FEATURES[name];
    return { name, ...probeFeature(name), since, neededFor, without, how, essential };
  });
  if (json) {
    console.log(
      JSON.stringify({ kernel: release(), architecture: process.arch, features: findings }, null, 2),
    );
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
  }
  if (findings.some(({ here, essential }) => essential && here === 'no')) process.exitCode = 1;
}
