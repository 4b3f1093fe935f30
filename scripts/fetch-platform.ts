// For an image of another platform than this one (Dockerfile): fetches the packages that are compiled, Node and koffi's
// native module, for it, beside those that `npm ci` has chosen for this machine:
//
//   node scripts/fetch-platform.ts arm64
//
// By `npm pack`, because `npm ci` of older versions cannot be told of another platform; so the hashes of the lockfile are
// compared here.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

interface Locked {
  readonly version: string;
  readonly integrity: string;
}

const [cpu = ''] = process.argv.slice(2);
const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
  packages: Readonly<Record<string, Locked | undefined>>;
};

for (const name of [`node-linux-${cpu}`, `@koromix/koffi-linux-${cpu}`]) {
  const directory = join('node_modules', name);
  const locked = packages[directory];
  if (locked === undefined) throw new Error(`'${cpu}': the lockfile has no ${name}`);
  if (!existsSync(directory)) fetchPackage(name, locked, directory);
}

function fetchPackage(name: string, { version, integrity }: Locked, directory: string): void {
  const args = ['pack', '--silent', `${name}@${version}`];
  const archive = execFileSync('npm', args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
  try {
    const hash = `sha512-${createHash('sha512').update(readFileSync(archive)).digest('base64')}`;
    if (hash !== integrity) throw new Error(`${name}@${version} is ${hash}, in the lockfile ${integrity}`);
    mkdirSync(directory, { recursive: true });
    execFileSync('tar', ['-xzf', archive, '-C', directory, '--strip-components=1']);
  } finally {
    rmSync(archive);
  }
}
