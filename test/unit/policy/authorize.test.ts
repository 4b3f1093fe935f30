// Who may mount what, and on which terms: a policy, a volume, and what comes of it.
import { expect } from 'chai';
import { authorize, type Facts } from '../../../src/policy/authorize.ts';
import { DEFAULT_POLICY } from '../../../src/policy/default.ts';
import { type Grant, type Policy, PolicyError } from '../../../src/policy/policy.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import {
  bind,
  filesystem,
  fuse,
  image,
  mounts,
  NO_FACTS,
  overlay,
  POD,
  PUBLISHED,
  policyOf,
  STAGED,
  tmpfs,
} from './volumes.ts';

const MI = 2 ** 20;
const MAPPED = { is: 'explicit', uidmap: '0:100000:65536', gidmap: '0:100000:65536' } as const;
const OWNED = { is: 'owner', uid: 1000, gid: undefined } as const;
const PODS = { is: 'pod', nestedDir: 'data' } as const;
const PERSISTENT = { is: 'persistent', upperdir: '/srv/team-a/upper', workdir: '/srv/team-a/work' } as const;
const EPHEMERAL = { is: 'ephemeral', sizeLimit: undefined } as const;

/** Rules by what they allow; of class inline where they do not say otherwise. */
const POLICIES = {
  views: policyOf(`class: inline
types: [overlay, tmpfs, bind, image, ext4]
fsTypes: [squashfs, erofs, ext4]
roots: [{ path: '/srv/\${namespace}' }]
writable: ['no', ephemeral, persistent]
sizeLimit: { default: 16Mi, max: 64Mi }
maxVolumes: 3`),
  writers: policyOf(`name: writers
class: inline
types: ['*', 'fuse.*']
fsTypes: ['*']
roots: [{ path: '/srv/\${namespace}', access: read-write, requireMountpoint: true }, { path: '/pub' }]
writable: ['no', ephemeral, persistent]
readOnlyViewsOnly: false
mkfs: true
size: { max: 1Gi }
block: true
sources: { nfs: ['files:/srv/.*'] }
helpers:
  bindfs: { options: { mirror: '\\d+', multithreaded: true }, user: 61001 }
  sshfs: { sources: ['backup@files:.*'], program: /opt/bin/sshfs }`),
  wrapped: policyOf(`class: inline
types: [tmpfs, fuse.sshfs, fuse.squashfuse, fuse.bindfs]
roots: [{ path: '/srv' }]
helpers:
  sshfs: { sources: ['backup@files:.*'], program: /usr/local/bin/sshfs-restricted }
  squashfuse: { program: /usr/bin/squashfuse }
  bindfs: {}`),
  mapped: policyOf(`class: inline
types: [tmpfs]
idmap: { kinds: [explicit, owner], onDisk: [0-65535], shown: [1000-1999, 100000-165535] }`),
  flagged: policyOf(`class: inline
types: [tmpfs, ext4]
devices: true
readOnlyViewsOnly: false
flags: [suid, dev]
contexts: ['system_u:object_r:container_file_t:s0(:c\\d+,c\\d+)?']
options: { ext4: { stripe: '\\d+', dax: always }, tmpfs: { dirsync: true } }`),
  trusting: policyOf(`class: persistent
types: [overlay]
roots: [{ path: /golden, trusted: true }, { path: /srv, access: read-write }, { path: /golden/work, access: read-write, trusted: true }]
writable: ['no', persistent]`),
  teams: policyOf(
    `name: first
class: persistent
types: [bind, overlay]
namespaces: ['team-*']
serviceAccounts: [builder, 'team-a/web', 'ops-*/*']
roots: [{ path: '/srv/\${namespace}/x-\${serviceAccount}', access: read-write }]
writable: [persistent]`,
    `name: second
class: persistent
types: [tmpfs]`,
  ),
  default: DEFAULT_POLICY,
  empty: policyOf(),
} satisfies Record<string, Policy>;

type Row = readonly [policy: keyof typeof POLICIES, what: string, volume: Volume, facts?: Partial<Facts>];

const allowed: readonly Row[] = [
  ['views', 'an overlay of a source', overlay(['/srv/team-a/data'])],
  ['views', 'an overlay of the root itself', overlay(['/srv/team-a'])],
  ['views', 'a path with a slash too many', overlay(['/srv//team-a/./data/'])],
  ['views', 'an overlay with an ephemeral layer', overlay(['/srv/team-a/data'], { writable: EPHEMERAL })],
  ['views', 'a read-only image', image('/srv/team-a/app.squashfs')],
  [
    'views',
    'an image that is written to, with ro',
    image('/srv/team-a/a', { filesystem: 'ext4', options: ['ro'] }),
  ],
  ['views', 'one below the largest size', tmpfs({ sizeLimit: 64 * MI })],
  ['views', 'a size as an option', tmpfs({ options: ['size=64m', 'mode=0700'] })],
  ['views', 'as many volumes as may be', tmpfs(), { volumesOfNamespace: 2 }],
  [
    'views',
    'several of them',
    mounts(overlay(['/srv/team-a/data']), tmpfs({ options: ['size=32m'] }), tmpfs()),
  ],
  ['writers', 'a bind', bind('/srv/team-a/data')],
  ['writers', 'a bind of a read-only root, with ro', bind('/pub/data', { options: ['ro'] })],
  ['writers', 'the same, by a request that is read-only', bind('/pub/data'), { readOnly: true }],
  ['writers', 'a persistent layer', overlay(['/pub/base'], { writable: PERSISTENT })],
  [
    'writers',
    'a new image',
    image('/srv/team-a/new', { filesystem: 'xfs', make: { filesystem: 'xfs', bytes: 512 * MI } }),
  ],
  ['writers', 'an image as a block device', image('/srv/team-a/disk', { block: true, filesystem: 'auto' })],
  ['writers', 'a server', filesystem('nfs', 'files:/srv/a', { options: ['vers=4.2', 'hard'] })],
  [
    'writers',
    'a FUSE filesystem of a path',
    fuse('bindfs', '/srv/team-a/data', { options: ['mirror=7', 'multithreaded', 'allow_other'] }),
  ],
  ['writers', 'a FUSE filesystem of a server', fuse('sshfs', 'backup@files:/x')],
  ['mapped', 'a mapping within its ranges', tmpfs({ idmap: { ...MAPPED, uidmap: '0:100000:65536' } })],
  [
    'mapped',
    'a mapping over two ranges side by side',
    tmpfs({ idmap: { ...MAPPED, gidmap: '0:1000:1000' } }),
  ],
  ['mapped', 'an owner', tmpfs({ idmap: OWNED })],
  ['flagged', 'suid and dev', tmpfs({ options: ['suid', 'dev'] })],
  ['flagged', 'a label', tmpfs({ options: ['context=system_u:object_r:container_file_t:s0:c1,c22'] })],
  [
    'flagged',
    'an added option',
    filesystem('ext4', '/dev/sdb', { options: ['stripe=16', 'errors=remount-ro', 'dax=always'] }),
  ],
  ['flagged', 'an added flag of the filesystem', tmpfs({ options: ['dirsync'] })],
  [
    'trusting',
    'what follows layers, in trusted roots',
    overlay(['/golden/a', '::/golden/b'], {
      ...PUBLISHED,
      options: ['metacopy=on', 'redirect_dir=on', 'userxattr'],
    }),
  ],
  [
    'trusting',
    'a trusted upper layer',
    overlay(['/golden/a'], {
      ...PUBLISHED,
      options: ['index=on', 'volatile'],
      writable: { is: 'persistent', upperdir: '/golden/work/u', workdir: '/golden/work/w' },
    }),
  ],
  ['teams', 'a root by the pod', bind('/srv/team-a/x-web/data', PUBLISHED)],
  ['teams', 'a root by the path, where the pod is not known', bind('/srv/team-b/x-builder/data', STAGED)],
  ['teams', 'a pod whom another rule is for', tmpfs({ ...PUBLISHED, pod: { ...POD, namespace: 'other' } })],
  ['default', 'all that an administrator wants', bind('/srv/data', { ...STAGED, idmap: MAPPED })],
  ['default', 'his images', image('/srv/a.img', { ...STAGED, filesystem: 'auto' })],
  ['default', 'his disks', filesystem('xfs', '/dev/nvme0n1p2', STAGED)],
  ['default', 'his servers', filesystem('nfs4', '10.0.0.1:/x', { ...STAGED, options: ['addr=10.0.0.1'] })],
  ['default', 'an inline tmpfs', tmpfs()],
  ['default', 'an inline view', overlay(['/var/lib/csi-driver-idmap/volumes/team-a/data'])],
  [
    'default',
    'an inline view with an ephemeral layer',
    overlay(['/var/lib/csi-driver-idmap/volumes/team-a/data'], { writable: EPHEMERAL }),
  ],
];

const refused: readonly (
  | readonly [...Row, ...message: RegExp[]]
  | readonly [keyof typeof POLICIES, string, Volume, Partial<Facts> | undefined, RegExp]
)[] = [
  [
    'views',
    'a source of another namespace',
    overlay(['/srv/team-b/data']),
    {},
    /^lowerdir \/srv\/team-b\/data: lies outside of the roots of rules\[0\], which are \/srv\/team-a \(read-only\); .*PersistentVolume$/,
  ],
  [
    'views',
    'one layer of another namespace',
    overlay(['/srv/team-a/x', '/srv/team-b/y']),
    {},
    /^lowerdir \/srv\/team-b\/y: /,
  ],
  ['views', 'a name that begins alike', overlay(['/srv/team-a-b/data']), {}, /outside of the roots/],
  ['views', 'a directory above the root', overlay(['/srv']), {}, /outside of the roots/],
  [
    'views',
    'the way up',
    overlay(['/srv/team-a/../team-b']),
    {},
    /^lowerdir "\/srv\/team-a\/\.\.\/team-b": is no plain absolute path/,
  ],
  ['views', 'a relative path', overlay(['srv/team-a']), {}, /no plain absolute path/],
  ['views', 'a path with a line in it', overlay(['/srv/team-a/\n']), {}, /no plain absolute path/],
  [
    'views',
    'a bind, with the way to have it',
    bind('/srv/team-a/data'),
    {},
    /^type bind: .*use type: overlay, lowerdir: \/srv\/team-a\/data,/,
  ],
  [
    'views',
    'a read-only bind too',
    bind('/srv/team-a/data', { options: ['ro'] }),
    { readOnly: true },
    /^type bind: /,
  ],
  [
    'views',
    'an image that can be written',
    image('/srv/team-a/a', { filesystem: 'ext4' }),
    {},
    /^type image: .*add ro to options/,
  ],
  [
    'views',
    'ro that is taken back',
    image('/srv/team-a/a', { filesystem: 'ext4', options: ['ro', 'rw'] }),
    {},
    /^type image: /,
  ],
  [
    'views',
    'an image of another filesystem',
    image('/srv/team-a/a', { filesystem: 'xfs', options: ['ro'] }),
    {},
    /^an image with xfs: rules\[0\] allows squashfs, erofs, ext4;/,
  ],
  [
    'writers',
    'an image of any filesystem, which * does not mean inline',
    image('/srv/team-a/a', { filesystem: 'auto' }),
    {},
    /whose filesystem is not named: writers \(rules\[0\]\) allows \*;/,
  ],
  [
    'views',
    'an image of any filesystem',
    image('/srv/team-a/a', { filesystem: 'auto', options: ['ro'] }),
    {},
    /whose filesystem is not named/,
  ],
  [
    'views',
    'a new image',
    image('/srv/team-a/a', { filesystem: 'ext4', options: ['ro'], make: { filesystem: 'ext4', bytes: MI } }),
    {},
    /^type image: |^mkfs: /,
  ],
  [
    'views',
    'a block device',
    image('/srv/team-a/a', { filesystem: 'auto', block: true }),
    { readOnly: true },
    /^volumeMode: Block: /,
  ],
  [
    'views',
    'a disk',
    filesystem('ext4', '/dev/sdb', { options: ['ro'] }),
    {},
    /^source \/dev\/sdb: lies outside/,
  ],
  [
    'views',
    'an upper layer in a read-only root',
    overlay(['/srv/team-a/x'], { writable: PERSISTENT }),
    {},
    /^upperdir \/srv\/team-a\/upper: would be written to.*use writable: ephemeral/,
  ],
  [
    'views',
    'another type',
    filesystem('xfs', '/srv/team-a/x', { options: ['ro'] }),
    {},
    /^type xfs: rules\[0\] allows overlay, tmpfs, /,
  ],
  ['views', 'a mapping', tmpfs({ idmap: MAPPED }), {}, /^uidmap and gidmap: .*none; remove it/],
  ['views', "the pod's mapping", tmpfs({ idmap: PODS }), {}, /^idmap: pod: /],
  ['views', 'an owner', tmpfs({ idmap: OWNED }), {}, /^owner: /],
  [
    'views',
    'a larger size',
    tmpfs({ sizeLimit: 64 * MI + 1 }),
    {},
    /^a size of 67108865 bytes: rules\[0\] allows 67108864;/,
  ],
  [
    'views',
    'a larger size of an ephemeral layer',
    overlay(['/srv/team-a/x'], { writable: { is: 'ephemeral', sizeLimit: 65 * MI } }),
    {},
    /^a size of /,
  ],
  ['views', 'a larger size as an option', tmpfs({ options: ['size=1m', 'size=65m'] }), {}, /^a size of /],
  ['views', 'a share of the memory', tmpfs({ options: ['size=1%'] }), {}, /^option size=1%: .*use sizeLimit/],
  ['views', 'no bound', tmpfs({ options: ['size=0'] }), {}, /^option size=0: /],
  [
    'views',
    'sizes that are too much together',
    mounts(tmpfs({ options: ['size=40m'] }), tmpfs({ options: ['size=40m'] })),
    {},
    /^sizes of 83886080 bytes in all: /,
  ],
  ['views', 'one part that is not allowed', mounts(tmpfs(), overlay(['/etc'])), {}, /^lowerdir \/etc: /],
  [
    'views',
    'more volumes than may be',
    tmpfs(),
    { volumesOfNamespace: 3 },
    /^namespace team-a has 3 volumes on this node: rules\[0\] allows 3;/,
  ],
  [
    'views',
    'a persistent volume',
    overlay(['/srv/team-a/data'], STAGED),
    {},
    /^no rule of the policy is for this persistent volume/,
  ],
  [
    'views',
    'a data-only layer',
    overlay(['/srv/team-a/x', '::/srv/team-a/y']),
    {},
    /^data-only layer \/srv\/team-a\/y: .*no layer of an inline volume is trusted/,
  ],
  [
    'views',
    'suid',
    tmpfs({ options: ['suid'] }),
    {},
    /^option "suid" is not allowed for type tmpfs: of flags rules\[0\] allows exec; remove it/,
  ],
  [
    'views',
    'a label',
    tmpfs({ options: ['context=system_u:object_r:tmp_t:s0'] }),
    {},
    /^option "context=.* allows of security labels none/,
  ],
  [
    'writers',
    'to write to a read-only root',
    bind('/pub/data'),
    {},
    /^source \/pub\/data: would be written to, and writers \(rules\[0\]\) has \/pub read-only; use type: overlay, lowerdir: \/pub\/data/,
  ],
  [
    'writers',
    'a new image in a read-only root',
    image('/pub/new', { filesystem: 'ext4', options: ['ro'], make: { filesystem: 'ext4', bytes: MI } }),
    { readOnly: true },
    /would be written to/,
  ],
  [
    'writers',
    'a larger image',
    image('/srv/team-a/new', { filesystem: 'ext4', make: { filesystem: 'ext4', bytes: 2 ** 31 } }),
    {},
    /^size: 2147483648 bytes for a new image/,
  ],
  [
    'writers',
    'another server',
    filesystem('nfs', 'other:/srv/a'),
    {},
    /^source "other:\/srv\/a": for type nfs .*files:\/srv\/\.\*/,
  ],
  [
    'writers',
    'a server of a type without sources',
    filesystem('cifs', '//files/share'),
    {},
    /^source "\/\/files\/share": for type cifs .*none/,
  ],
  [
    'writers',
    'an interface of the kernel',
    filesystem('proc', '/srv/team-a/proc'),
    {},
    /^type proc: shows the node itself/,
  ],
  ['writers', 'a type that nobody thought of', filesystem('newfs', '/srv/team-a/x'), {}, /^type newfs: /],
  [
    'writers',
    'a helper that is not listed',
    fuse('sh', '/srv/team-a/x'),
    {},
    /^helper sh: writers \(rules\[0\]\) allows bindfs, sshfs;/,
  ],
  [
    'writers',
    'a helper with a source that is not its own',
    fuse('sshfs', 'root@other:/'),
    {},
    /^source "root@other:\/": for type fuse\.sshfs/,
  ],
  ['writers', 'a helper with a path outside', fuse('bindfs', '/etc'), {}, /^source \/etc: lies outside/],
  ['writers', 'a helper without sources, with one', fuse('bindfs', 'somewhere'), {}, /allows none/],
  [
    'writers',
    'a helper with an option that is not listed',
    fuse('bindfs', '/srv/team-a/x', { options: ['chmod-allow-x'] }),
    {},
    /^option "chmod-allow-x" is not allowed for type fuse\.bindfs; .*mirror, multithreaded/,
  ],
  [
    'writers',
    'a helper with a value that does not match',
    fuse('bindfs', '/srv/team-a/x', { options: ['mirror=root'] }),
    {},
    /must have a value that matches/,
  ],
  [
    'writers',
    'a helper with ssh_command',
    fuse('sshfs', 'backup@files:/x', { options: ['ssh_command=/srv/team-a/run'] }),
    {},
    /^option "ssh_command=.*" is not allowed for type fuse\.sshfs, whatever the policy/,
  ],
  [
    'mapped',
    'an id on disk that is not allowed',
    tmpfs({ idmap: { ...MAPPED, gidmap: '65536:100000:1' } }),
    {},
    /^gidmap: ids 65536-65536 on disk|^gidmap: ids 65536 on disk: rules\[0\] allows 0-65535/,
  ],
  [
    'mapped',
    'an id shown that is not allowed',
    tmpfs({ idmap: { ...MAPPED, uidmap: '0:0:1' } }),
    {},
    /^uidmap: ids 0 as shown: rules\[0\] allows 1000-1999, 100000-165535;/,
  ],
  [
    'mapped',
    'a range that ends outside',
    tmpfs({ idmap: { ...MAPPED, uidmap: '0:100000:65537' } }),
    {},
    /^uidmap: ids/,
  ],
  [
    'mapped',
    'an owner that is not allowed',
    tmpfs({ idmap: { ...OWNED, uid: 0 } }),
    {},
    /^owner: ids 0 as shown/,
  ],
  [
    'mapped',
    'a group that is not allowed',
    tmpfs({ idmap: { ...OWNED, gid: 70_000 } }),
    {},
    /^owner: ids 70000 on disk/,
  ],
  ['flagged', 'exec', tmpfs({ options: ['exec'] }), {}, /"exec" is not allowed/],
  [
    'flagged',
    'another label',
    tmpfs({ options: ['context=system_u:object_r:etc_t:s0'] }),
    {},
    /^option "context=/,
  ],
  [
    'flagged',
    'a label with more in it',
    tmpfs({ options: ['context=system_u:object_r:container_file_t:s0,suid'] }),
    {},
    /^option "context=/,
  ],
  [
    'flagged',
    'an option that stops the node',
    filesystem('ext4', '/dev/sdb', { options: ['errors=panic'] }),
    {},
    /^option "errors=panic"/,
  ],
  [
    'flagged',
    'a directory of devices',
    filesystem('ext4', '/dev'),
    {},
    /^source \/dev: \/dev is the kernel's/,
  ],
  ['flagged', 'a way out of the devices', filesystem('ext4', '/dev/../etc/x'), {}, /no plain absolute path/],
  [
    'trusting',
    'what follows layers, with one that is not trusted',
    overlay(['/golden/a', '/srv/b'], { ...PUBLISHED, options: ['metacopy=on'] }),
    {},
    /^option "metacopy=on" is not allowed: .*not all of its layers lie in trusted roots of rules\[0\]; remove it$/,
  ],
  [
    'trusting',
    'a data-only layer that is not trusted',
    overlay(['/golden/a', '::/srv/b'], PUBLISHED),
    {},
    /^data-only layer \/srv\/b/,
  ],
  [
    'trusting',
    'an upper layer that is not trusted',
    overlay(['/golden/a'], {
      ...PUBLISHED,
      options: ['userxattr'],
      writable: { is: 'persistent', upperdir: '/srv/u', workdir: '/srv/w' },
    }),
    {},
    /^option "userxattr"/,
  ],
  [
    'trusting',
    'nfs_export in any case',
    overlay(['/golden/a'], { ...PUBLISHED, options: ['nfs_export=on'] }),
    {},
    /whatever the policy/,
  ],
  [
    'teams',
    'the root of another service account',
    bind('/srv/team-a/x-builder/data', PUBLISHED),
    {},
    /^source .*which are \/srv\/team-a\/x-web \(read-write\)/,
  ],
  [
    'teams',
    'the root of another namespace',
    bind('/srv/team-b/x-web/data', PUBLISHED),
    {},
    /outside of the roots/,
  ],
  [
    'teams',
    'a service account that is not listed',
    bind('/srv/team-b/x-web', { ...PUBLISHED, pod: { ...POD, namespace: 'team-b' } }),
    {},
    /^type bind: second \(rules\[1\]\) allows tmpfs/,
  ],
  [
    'teams',
    'sources of two namespaces, where the pod is not known',
    overlay(['/srv/team-a/x-web/a', '/srv/team-b/x-web/b'], {
      ...STAGED,
      writable: { is: 'persistent', upperdir: '/srv/team-a/x-web/u', workdir: '/srv/team-a/x-web/w' },
    }),
    {},
    /^lowerdir \/srv\/team-b\/x-web\/b: lies outside/,
  ],
  [
    'default',
    'an inline bind',
    bind('/srv/data'),
    {},
    /^type bind: pods \(rules\[1\]\) allows tmpfs, overlay;/,
  ],
  ['default', 'an inline image', image('/var/lib/csi-driver-idmap/volumes/team-a/x'), {}, /^type image: /],
  ['default', 'an inline mapping', tmpfs({ idmap: PODS }), {}, /^idmap: pod: /],
  [
    'default',
    'an inline persistent layer',
    overlay(['/var/lib/csi-driver-idmap/volumes/team-a/x'], {
      writable: {
        is: 'persistent',
        upperdir: '/var/lib/csi-driver-idmap/volumes/team-a/u',
        workdir: '/var/lib/csi-driver-idmap/volumes/team-a/w',
      },
    }),
    {},
    /^writable: persistent: /,
  ],
  [
    'default',
    'an inline view of other files',
    overlay(['/srv/data']),
    {},
    /^lowerdir \/srv\/data: lies outside/,
  ],
  [
    'default',
    'an unknown helper of an administrator',
    fuse('sh', '/srv/data', STAGED),
    {},
    /^helper sh: administrators/,
  ],
  [
    'empty',
    'anything inline',
    tmpfs(),
    {},
    /^no rule of the policy is for inline volumes of service account web in namespace team-a/,
  ],
  ['empty', 'anything persistent', tmpfs(STAGED), {}, /^no rule of the policy/],
];

const forbidden: readonly (readonly [path: string, message: RegExp])[] = [
  ['/proc', /\/proc is the kernel's/],
  ['/proc/1/root', /\/proc is the kernel's/],
  ['/sys/fs/cgroup', /\/sys is the kernel's/],
  ['/dev', /\/dev is the kernel's/],
  ['/dev/shm', /\/dev is the kernel's/],
  ['/var/lib/kubelet', /\/var\/lib\/kubelet is never shown in a volume, nor what lies in it/],
  ['/var/lib/kubelet/pods/x', /nor what lies in it/],
  ['/var/lib', /\/var\/lib\/kubelet is never shown in a volume, as part of another directory neither/],
  ['/', /never shown in a volume/],
  ['/data/kubelet/pods', /\/data\/kubelet is never shown/],
];

function outcome([policy, , volume, facts]: readonly [
  keyof typeof POLICIES,
  string,
  Volume,
  Partial<Facts>?,
]): Grant {
  return authorize(POLICIES[policy], volume, { ...NO_FACTS, ...facts });
}

describe('authorize', () => {
  for (const policy of Object.keys(POLICIES) as (keyof typeof POLICIES)[]) {
    describe(`by the policy "${policy}"`, () => {
      for (const row of allowed.filter(([name]) => name === policy)) {
        it(`allows ${row[1]}`, () => expect(() => outcome(row)).to.not.throw());
      }
      for (const [name, what, volume, facts, message] of refused) {
        if (name !== policy) continue;
        it(`refuses ${what}`, () => {
          expect(() => outcome([name, what, volume, facts as Partial<Facts>])).to.throw(
            PolicyError,
            message as RegExp,
          );
        });
      }
    });
  }

  it('refuses an inline volume of nobody', () => {
    expect(() => outcome(['default', '', tmpfs({ pod: undefined })])).to.throw(
      PolicyError,
      /podInfoOnMount: true/,
    );
  });

  it('takes no value of a variable that is no name', () => {
    for (const namespace of ['', '..', '.', 'a/b', 'A', '-a', 'a'.repeat(64)]) {
      const volume = overlay([`/srv/${namespace}`], { pod: { ...POD, namespace } });
      expect(() => outcome(['views', '', volume]), namespace).to.throw(PolicyError);
    }
  });

  describe('whatever the policy, shows none of', () => {
    const facts = { forbidden: ['/var/lib/kubelet', '/data/kubelet'] };
    for (const [path, message] of forbidden) {
      it(path, () => {
        for (const volume of [bind(path, STAGED), overlay([path], STAGED)]) {
          expect(() => outcome(['default', '', volume, facts])).to.throw(PolicyError, message);
        }
      });
    }

    it('/dev but disks', () => {
      expect(() => outcome(['default', '', fuse('bindfs', '/dev/sda', STAGED)])).to.throw(
        PolicyError,
        /kernel's/,
      );
      expect(() => outcome(['default', '', bind('/dev/sda', STAGED)])).to.throw(PolicyError, /kernel's/);
      expect(() => outcome(['default', '', image('/dev/sda', STAGED)])).to.not.throw();
    });
  });

  describe('grants', () => {
    const root = (path: string, requireMountpoint: boolean) => ({
      ...{ path, requireMountpoint },
      except: ['/proc', '/sys', '/dev'].filter((place) => place !== path),
    });

    const rows: readonly (
      | readonly [...Row, Partial<Grant>]
      | readonly [keyof typeof POLICIES, string, Volume, Partial<Grant>]
    )[] = [
      [
        'views',
        'the roots that sources lie in, and no others',
        overlay(['/srv/team-a/x', '/srv/team-a/y']),
        {
          sourceRoots: [root('/srv/team-a', false)],
        },
      ],
      [
        'writers',
        'what a root demands',
        overlay(['/pub/x', '/srv/team-a/y']),
        {
          sourceRoots: [root('/pub', false), root('/srv/team-a', true)],
        },
      ],
      [
        'teams',
        'the root that the path has',
        bind('/srv/team-b/x-builder/data', STAGED),
        {
          sourceRoots: [root('/srv/team-b/x-builder', false)],
        },
      ],
      [
        'flagged',
        'disks where they are',
        filesystem('ext4', '/dev/sdb'),
        {
          sourceRoots: [root('/dev', false)],
        },
      ],
      ['views', 'no root to what has no source', tmpfs(), { sourceRoots: [] }],
      ['views', 'nosuid and nodev', tmpfs(), { options: ['nosuid', 'nodev'] }],
      [
        'flagged',
        'nosuid and nodev to who asks for nothing, and noexec by its flags',
        tmpfs(),
        {
          options: ['nosuid', 'nodev', 'noexec'],
        },
      ],
      ['flagged', 'suid to who asks for it', tmpfs({ options: ['suid'] }), { options: ['nodev', 'noexec'] }],
      ['views', 'a size to who asks for none', tmpfs(), { parts: [{ options: [], sizeLimit: 16 * MI }] }],
      [
        'views',
        'the size that was asked for',
        tmpfs({ sizeLimit: MI }),
        { parts: [{ options: [], sizeLimit: MI }] },
      ],
      [
        'views',
        'the size of the option',
        tmpfs({ options: ['size=2m'] }),
        { parts: [{ options: [], sizeLimit: 2 * MI }] },
      ],
      ['mapped', 'no bound where there is none', tmpfs(), { parts: [{ options: [], sizeLimit: undefined }] }],
      [
        'views',
        'a size to an ephemeral layer, which follows nothing',
        overlay(['/srv/team-a/x'], { writable: EPHEMERAL }),
        {
          parts: [{ options: ['redirect_dir=nofollow', 'metacopy=off'], sizeLimit: 16 * MI }],
        },
      ],
      [
        'trusting',
        'what layers say, where they are trusted',
        overlay(['/golden/x'], PUBLISHED),
        {
          parts: [{ options: [], sizeLimit: undefined }],
        },
      ],
      [
        'trusting',
        'nothing of what layers say, where one is not',
        overlay(['/golden/x', '/srv/y'], PUBLISHED),
        {
          parts: [{ options: ['redirect_dir=nofollow', 'metacopy=off'], sizeLimit: undefined }],
        },
      ],
      [
        'views',
        'that an error does not stop the node',
        image('/srv/team-a/x', { filesystem: 'ext4', options: ['ro'] }),
        {
          parts: [{ options: ['errors=remount-ro'], sizeLimit: undefined }],
        },
      ],
      [
        'flagged',
        'what was said of errors',
        filesystem('ext4', '/dev/sdb', { options: ['errors=continue'] }),
        {
          parts: [{ options: [], sizeLimit: undefined }],
        },
      ],
      [
        'writers',
        'the one file that a helper is',
        fuse('sshfs', 'backup@files:/x'),
        { helperPrograms: new Map([['sshfs', '/opt/bin/sshfs']]), helperUsers: new Map() },
      ],
      [
        'writers',
        'the usual helpers, one as an ordinary user',
        fuse('bindfs', '/srv/team-a/x'),
        { helperPrograms: new Map(), helperUsers: new Map([['bindfs', { uid: 61001, gid: 61001 }]]) },
      ],
    ];
    for (const [policy, what, volume, grant] of rows) {
      it(what, () => expect(outcome([policy, what, volume])).to.deep.include(grant as Partial<Grant>));
    }

    it('roots without the places that nothing is shown of, whatever leads there', () => {
      const { sourceRoots } = outcome([
        'views',
        '',
        overlay(['/srv/team-a']),
        { forbidden: ['/var/lib/kubelet'] },
      ]);
      expect(sourceRoots.map(({ except }) => except)).to.deep.equal([
        ['/proc', '/sys', '/dev', '/var/lib/kubelet'],
      ]);
    });

    it('to each helper of several mounts the file that is its own, in whatever order they stand', () => {
      const helpers = [
        fuse('squashfuse', '/srv/image', { options: ['ro'] }),
        fuse('sshfs', 'backup@files:/x', { options: ['ro'] }),
        fuse('bindfs', '/srv/data', { options: ['ro'] }),
      ] as const;
      for (const parts of [helpers, helpers.toReversed()]) {
        const { helperPrograms } = outcome(['wrapped', '', mounts(tmpfs(), ...parts)]);
        expect(Object.fromEntries(helperPrograms)).to.deep.equal({
          squashfuse: '/usr/bin/squashfuse',
          sshfs: '/usr/local/bin/sshfs-restricted',
        });
      }
    });

    it('to each mount of several what is its own', () => {
      const volume = mounts(overlay(['/srv/team-a/x']), tmpfs({ options: ['size=1m'] }), tmpfs());
      expect(outcome(['views', '', volume]).parts).to.deep.equal([
        { options: ['redirect_dir=nofollow', 'metacopy=off'], sizeLimit: undefined },
        { options: [], sizeLimit: MI },
        { options: [], sizeLimit: 16 * MI },
      ]);
    });
  });
});
