// docs/licences.md: what ships beside our own code, and under which licence.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { bundle } from '../bundle.ts';
import { debianPackages, type ShippedPackage, shippedPackages } from '../shipped.ts';
import { head, table } from './markdown.ts';

export const LICENCES_PAGE = 'docs/licences.md';

export async function generateLicences(root: string): Promise<Map<string, string>> {
  const packages = shippedPackages((await bundle({ write: false })).metafile);
  const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8');
  return new Map([[LICENCES_PAGE, page(packages, debianPackages(dockerfile))]]);
}

function page(packages: readonly ShippedPackage[], debian: readonly string[]): string {
  const rows = packages.map(({ name, version, license, as }) => [`\`${name}\``, version, license, as]);
  const counts = Map.groupBy(packages, ({ license }) => license);
  const summary = [...counts].map(([license, { length }]) => `${length} under ${license}`).toSorted();
  return `${head('Licences', 'package-lock.json, the bundle and the Dockerfile')}
csi-driver-idmap is under Apache-2.0 ([LICENSE](../LICENSE)). What else is in its image:

## npm packages

${summary.join(', ')}. The licences' texts are in the image: of what is bundled in
\`/usr/local/lib/csi-driver-idmap/LICENSES.txt\`, of koffi and Node in \`/usr/share/doc/csi-driver-idmap/\`. Only packages that
a byte of the bundle comes from are listed; tools of development are in none.

${table(['package', 'version', 'licence', 'as'], rows)}

## Debian packages

The Dockerfile installs these on the base image, with what they depend on: ${debian.map((name) => `\`${name}\``).join(', ')}.
Each has its licences in \`/usr/share/doc/<package>/copyright\` of the image. They are programs of their own, started as
such; nothing of ours is linked with them. All of an image's packages, with their versions: \`make sbom\`.
`;
}
