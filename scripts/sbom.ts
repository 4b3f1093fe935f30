// `make sbom`: dist/sbom.cdx.json, a CycloneDX list of what the image is made of:
//
//   npm packages      those of production in package-lock.json, with their hashes, by npm itself
//   Debian packages   of an image, if IMAGE_ARCHIVE names one (`make image ARCHIVE=...`); else none, and that is said
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Component {
  readonly 'bom-ref': string;
  readonly type: string;
  readonly name: string;
  readonly version: string;
  readonly purl: string;
}

const OUTPUT = 'dist/sbom.cdx.json';
const archive = process.env.IMAGE_ARCHIVE;

// Both by the lockfile alone: packages of other platforms are not installed, but ship in images for those.
const bom = JSON.parse(
  command(
    'npm',
    'sbom',
    '--package-lock-only',
    '--omit',
    'dev',
    '--sbom-format',
    'cyclonedx',
    '--sbom-type',
    'application',
  ),
) as { metadata: { component: { name: string } }; components: Component[] };
// npm takes the name of the directory for it.
bom.metadata.component.name = (JSON.parse(readFileSync('package.json', 'utf8')) as { name: string }).name;
const npm = bom.components.length;
if (archive) bom.components.push(...debianComponents(archive));
mkdirSync('dist', { recursive: true });
writeFileSync(OUTPUT, `${JSON.stringify(bom, null, 2)}\n`);
const rest = archive
  ? `${bom.components.length - npm} Debian packages of ${archive}`
  : 'no Debian packages: IMAGE_ARCHIVE names no image';
console.log(`${OUTPUT}: ${npm} npm packages, ${rest}`);

/** By the package database of the image's layers; the last layer that has one has the whole. */
function debianComponents(file: string): Component[] {
  const directory = mkdtempSync(join(tmpdir(), 'csi-driver-idmap-sbom-'));
  try {
    command('tar', '-xf', file, '-C', directory);
    const [{ Layers: layers }] = JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8')) as [
      { Layers: string[] },
    ];
    const database = 'var/lib/dpkg/status';
    const layer = layers.findLast((one) =>
      command('tar', '-tf', join(directory, one)).split('\n').includes(database),
    );
    if (layer === undefined) throw new Error(`${file}: no layer has /${database}: not an image on Debian`);
    return componentsOf(command('tar', '-xOf', join(directory, layer), database));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** dpkg's database: a paragraph for each package (deb822). */
function componentsOf(database: string): Component[] {
  return database.split('\n\n').flatMap((paragraph) => {
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(paragraph)?.[1] ?? '';
    if (field('Status') !== 'install ok installed') return [];
    const [name, version] = [field('Package'), field('Version')];
    const purl = `pkg:deb/debian/${name}@${encodeURIComponent(version)}?arch=${field('Architecture')}`;
    return [{ 'bom-ref': purl, type: 'library', name, version, purl }];
  });
}

function command(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', maxBuffer: 256 << 20 });
}
