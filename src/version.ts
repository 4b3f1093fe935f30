// The version of the driver, as package.json has it.
import { readFileSync } from 'node:fs';

declare const BUNDLED_VERSION: string | undefined;

/** Baked into the bundle by scripts/build.ts; read from package.json in a checkout. */
export const VERSION: string = typeof BUNDLED_VERSION === 'undefined' ? fromPackage() : BUNDLED_VERSION;

function fromPackage(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
