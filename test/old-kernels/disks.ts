// What the machine is made of that tests run in on an older kernel:
//
//   kernels, root   Debian's cloud kernels with their modules, and a Debian with the programs that tests call. Made once,
//                   for the list of packages that there is now, and kept in .tools/old-kernels: remove it to have newer ones
//   checkout        this checkout as it is, with its node_modules and the Go programs of the tests; made for each run
//
// Disks are images of ext4. Debian's kernels can read that and NVMe without any module, which is what the root is; so there
// is no initrd.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

const CHECKOUT = join(import.meta.dirname, '../..');
const CACHE = join(CHECKOUT, '.tools/old-kernels');
const INIT = join(import.meta.dirname, 'init');

/** By what KERNEL says: Debian's package that always depends on the newest of its kind. */
const KERNELS = { '6.1': 'linux-image-cloud-amd64', '6.12': 'linux-image-6.12-cloud-amd64' } as const;
export type KernelName = keyof typeof KERNELS;
export const KERNEL_NAMES = Object.keys(KERNELS) as KernelName[];

/** The one that has both of them. */
const SUITE = 'bookworm';
const SOURCES = `deb http://deb.debian.org/debian ${SUITE} main
deb http://deb.debian.org/debian ${SUITE}-updates main
deb http://deb.debian.org/debian-security ${SUITE}-security main
`;
/** Beside what tests call: modprobe, Node's C++ library, and that of runc. */
const MORE_PACKAGES = ['kmod', 'libstdc++6', 'libseccomp2', 'procps'];

/** What of node_modules no test that runs there needs: linters, generators, types. They are half of it. */
const LEFT_OUT = [
  '@biomejs',
  '@bufbuild/buf',
  '@bufbuild/buf-linux-x64',
  '@typescript',
  'typescript-api',
  'dprint-node',
];

export interface Disks {
  readonly kernel: string;
  readonly root: string;
}

/** Makes them where they are not there yet, which takes some minutes. */
export function systemDisks(kernel: KernelName, say: (line: string) => void): Disks {
  const list = run('scripts/install-tools', '--list').trim().split(' ');
  const packages = [...list, ...MORE_PACKAGES];
  const key = hashOf(JSON.stringify([SUITE, KERNELS, packages]), readFileSync(INIT, 'utf8'));
  const place = join(CACHE, key);
  const disks = { kernel: join(place, `vmlinuz-${kernel}`), root: join(place, 'root.img') };
  if (existsSync(place)) return disks;

  rmSync(CACHE, { recursive: true, force: true });
  const making = join(CACHE, 'making');
  const root = join(making, 'root');
  mkdirSync(making, { recursive: true });
  try {
    say(`installing Debian ${SUITE} for the disk`);
    run('debootstrap', '--variant=minbase', SUITE, root);
    writeFileSync(join(root, 'etc/apt/sources.list'), SOURCES);
    run('chroot', root, 'apt-get', 'update', '-qq');
    say('installing what tests call');
    run('chroot', root, 'apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...packages);
    say('fetching kernels');
    const kernels = fetchKernels(root);
    copyFileSync(INIT, join(root, 'machine-init'));
    chmodSync(join(root, 'machine-init'), 0o755);
    writeFileSync(join(root, 'etc/hosts'), '127.0.0.1 localhost\n');
    for (const [name, release] of kernels) {
      renameSync(join(root, 'boot', `vmlinuz-${release}`), join(making, `vmlinuz-${name}`));
    }
    for (const path of ['var/lib/apt/lists', 'var/cache/apt/archives', 'boot']) {
      rmSync(join(root, path), { recursive: true });
    }
    makeDisk(root, join(making, 'root.img'), '6G');
    rmSync(root, { recursive: true });
    renameSync(making, place);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return disks;
}

/** Unpacks the kernels into the root, by the root's own apt. @returns the release of each */
function fetchKernels(root: string): [KernelName, string][] {
  return KERNEL_NAMES.map((name) => {
    const shown = run('chroot', root, 'apt-cache', 'depends', '--important', KERNELS[name]);
    const [, image = '', release = ''] = /Depends: (linux-image-(\d\S*))/.exec(shown) ?? [];
    const archives = '/var/cache/apt/archives';
    run(
      'chroot',
      root,
      'sh',
      '-c',
      `cd ${archives} && apt-get download -qq -o APT::Sandbox::User=root ${image}`,
    );
    const [file = ''] = readdirSync(join(root, archives)).filter((one) => one.startsWith(`${image}_`));
    run('chroot', root, 'dpkg-deb', '-x', join(archives, file), '/machine-kernel');
    run('cp', '-a', join(root, 'machine-kernel/boot'), root);
    run('cp', '-a', join(root, 'machine-kernel/lib/modules'), join(root, 'usr/lib'));
    rmSync(join(root, 'machine-kernel'), { recursive: true });
    run('chroot', root, 'depmod', release);
    return [name, release];
  });
}

/** @param job a shell script, to be run in the checkout */
export function checkoutDisk(directory: string, job: string): string {
  const staging = join(directory, 'checkout');
  mkdirSync(staging);
  const files = 'git ls-files -z --cached --others --exclude-standard';
  run('sh', '-c', `${files} | tar -c --null --ignore-failed-read -T - | tar -x -C ${staging}`);
  run('cp', '-al', 'node_modules', staging);
  for (const name of LEFT_OUT) rmSync(join(staging, 'node_modules', name), { recursive: true, force: true });
  if (existsSync(join(CHECKOUT, '.tools/bin'))) {
    mkdirSync(join(staging, '.tools'));
    run('cp', '-al', '.tools/bin', join(staging, '.tools'));
  }
  writeFileSync(join(staging, 'machine-job'), job);
  const disk = join(directory, 'checkout.img');
  makeDisk(staging, disk, '2G');
  rmSync(staging, { recursive: true });
  return disk;
}

function makeDisk(content: string, image: string, size: string): void {
  run('mkfs.ext4', '-q', '-F', '-d', content, '-E', 'root_owner=0:0', image, size);
}

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: CHECKOUT,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    env,
  });
  if (error) throw error;
  if (status === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')} ended with ${status}:\n${(stdout + stderr).slice(-2_000)}`);
}

const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };

const hashOf = (...texts: string[]): string =>
  createHash('sha256').update(texts.join('\n')).digest('hex').slice(0, 12);
