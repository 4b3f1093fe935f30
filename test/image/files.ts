// Which files an image has that nobody meant it to have: neither of a Debian package, nor made by installing one, nor
// copied by the Dockerfile.
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What the Dockerfile copies. */
const OURS = [
  'usr/local/bin/(node|csi-driver-idmap)',
  'usr/share/doc/csi-driver-idmap/(LICENSE|LICENSE\\.node|LICENSE\\.koffi|package\\.json)',
  'usr/local/lib/csi-driver-idmap/[\\w-]+\\.mjs(\\.LEGAL\\.txt)?',
  'usr/local/lib/csi-driver-idmap/LICENSES\\.txt',
  'usr/local/lib/csi-driver-idmap/node_modules/koffi/([\\w-]+/)*([\\w-]+\\.c?js|package\\.json)',
  'usr/local/lib/csi-driver-idmap/node_modules/@koromix/koffi-linux-\\w+/(README\\.md|index\\.js|package\\.json|linux_\\w+/koffi\\.node)',
];

/** What scripts of packages make where they are installed, and debootstrap. */
const MADE = [
  '(bin|sbin|lib|lib64)', // Links into usr.
  'dev/(console|fd|full|null|ptmx|random|std(in|out|err)|tty|urandom|zero)', // A runtime has a /dev of its own.
  'etc/((passwd|group)-?|g?shadow|sub[ug]id|\\.pwd\\.lock|security/opasswd|pam\\.d/common-[\\w-]+|nsswitch\\.conf)',
  'etc/(shells|environment|profile|motd|localtime|timezone|fstab|networks|hosts|inputrc|ld\\.so\\.cache)',
  'etc/(alternatives/.+|systemd/system/.+|dpkg/origins/default|apt/sources\\.list|ca-certificates\\.conf|ssl/certs/.+\\.(pem|crt|\\d))',
  'root/\\.(bashrc|profile)',
  'usr/s?bin/(awk|nawk|pager|rmt|which)', // Links into etc/alternatives.
  'usr/local/man',
  'var/cache/(apt/archives/lock|ldconfig/aux-cache)',
  'var/spool/mail',
  'var/lib/(shells\\.state|apt/extended_states|(dpkg|pam|systemd/deb-systemd-helper-enabled)/.+)',
];

const MEANT = [...OURS, ...MADE].map((pattern) => new RegExp(`^${pattern}$`));

/** Files of the machine that the base was made on, which a runtime puts its own in place of. Empty ones tell nothing. */
const OF_THE_BUILDER = /^etc\/(hostname|resolv\.conf|machine-id)$/;

/** By path, relative to the root. Directories do not count. */
export function strayFiles(root: string): string[] {
  const packaged = filesOfPackages(root);
  return filesBelow(root).filter((file) => {
    if (OF_THE_BUILDER.test(file)) return lstatSync(join(root, file)).size > 0;
    return !packaged.has(file) && !MEANT.some((pattern) => pattern.test(file));
  });
}

function filesOfPackages(root: string): Set<string> {
  const database = join(root, 'var/lib/dpkg/info');
  const lists = readdirSync(database).filter((name) => name.endsWith('.list'));
  const files = lists.flatMap((name) => readFileSync(join(database, name), 'utf8').split('\n'));
  // Some packages still name them as they were before /bin became a link into /usr.
  return new Set(files.map((file) => file.replace(/^\//, '').replace(/^(bin|sbin|lib|lib64)\//, 'usr/$1/')));
}

/** Not through links, which readdir's own recursion follows. */
const filesBelow = (root: string, directory = ''): string[] =>
  readdirSync(join(root, directory), { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? filesBelow(root, path) : [path];
  });
