// Which Linux the tests run on. For what a test itself stands on, or is about, and an older kernel does not have; what the
// code under test can, it finds out by trying.
import { release } from 'node:os';

/** `isBefore('6.3')`: true of 6.1.0-50-cloud-amd64. */
export function kernelIsBefore(version: string): boolean {
  const [major = 0, minor = 0] = numbersOf(release());
  const [wantedMajor = 0, wantedMinor = 0] = numbersOf(version);
  return major < wantedMajor || (major === wantedMajor && minor < wantedMinor);
}

const numbersOf = (version: string): number[] => version.split(/\D/, 2).map(Number);
