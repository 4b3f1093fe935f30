// Valid input of every form that this driver reads, to be damaged: one of each thing that the form can say.
import { readdirSync, readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { formatRecord, newRecord } from '../../src/journal/record.ts';
import { DEFAULT_POLICY_TEXT } from '../../src/policy/default.ts';

export const OPTION_LISTS = [
  'ro,nosuid,nodev,noexec,noatime,nosymfollow',
  'rw,sync,dirsync,lazytime,relatime,strictatime,nodiratime,mand,silent',
  'defaults,rbind,rro,rnosuid,rslave,shared,private,unbindable',
  'loop,direct-io,uidmap=0:100000:65536,gidmap=0:100000:65536,idmapupper',
  'lowerdir=/a:/b\\:c::/data,upperdir=/u,workdir=/w,index=off,metacopy=on,redirect_dir=nofollow,volatile,userxattr',
  'size=64m,mode=0750,nr_inodes=10,uid=1000,gid=1000,mkdir=data',
  'remount,bind,ro,errors=remount-ro,data=ordered,context="system_u:object_r:container_file_t:s0:c1,c2"',
  'allow_other,default_permissions,umask=022,subdir=x\\,y',
];

export const LOWERDIRS = ['/a', '/a:/b:/c', '/a\\:b:/c', '/a::/d', '/a:/b::/d::/e', '/a\\\\b:/ä ', 'x:./y'];

export const MAPPINGS = [
  '0:100000:65536',
  '0:100000:1000,1000:1000:1,1001:101001:64535',
  '0:0:4294967295',
  '33:0:1,0:33:1,1:1:32',
  '4294967294:0:1',
];

export const KERNEL_MAPS = [
  '         0     100000      65536\n',
  '         0          0 4294967295\n',
  '         0       1000          1\n         1     100000      65536\n',
];

export const MOUNTINFO = [
  '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue',
  '22 1 0:21 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/a:/b,upperdir=/u,workdir=/w',
  '40 22 0:35 /\\040x /a\\011b\\134c rw,idmapped shared:3 master:2 propagate_from:7 - tmpfs none rw,size=1024k',
  '41 22 0:36 / /run unbindable - fuse.bindfs /srv\\012x rw,user_id=0,group_id=0,allow_other',
  '42 22 0:4 net:[4026531840] /run/netns/x rw - nsfs nsfs rw',
  readFileSync('/proc/self/mountinfo', 'utf8'),
];

const range = [{ hostId: 655_360, containerId: 0, length: 65_536 }];
export const POD_RECORDS = [
  JSON.stringify({ uidMappings: range, gidMappings: range }),
  JSON.stringify({ uidMappings: range, gidMappings: range }, null, 2),
  '{"uidMappings":[{"hostId":131072,"containerId":0,"length":131072}],"gidMappings":[{"hostId":131072,"containerId":0,"length":131072}]}',
];

export const ENDPOINTS = ['unix:///csi/csi.sock', 'unix:csi.sock', '/csi/csi.sock', 'unix:/run/x.sock'];

export const TARGETS = [
  '/var/lib/kubelet/pods/0aa2c1f8-7d2c-4c5e-8d3f-8c6f2b7a1e11/volumes/kubernetes.io~csi/data/mount',
  '/var/lib/kubelet/plugins/kubernetes.io/csi/idmap.csi.dev/0123abcd/globalmount',
  '/var/lib/kubelet/pods/static-pod-0123456789abcdef/volumes/kubernetes.io~csi/x/mount',
];

const at = (path: string) => new URL(`../../${path}`, import.meta.url);

/** The volumeAttributes of every example, and those that no example needs. */
export const CONTEXTS: readonly Readonly<Record<string, string>>[] = [
  ...readdirSync(at('examples'))
    .filter((name) => name.endsWith('.yaml'))
    .flatMap((name) => parseAllDocuments(readFileSync(at(`examples/${name}`), 'utf8')))
    .flatMap((document) => attributesIn(document.toJS())),
  {
    type: 'overlay',
    lowerdir: '/srv/a:/srv/b::/srv/d',
    writable: 'ephemeral',
    sizeLimit: '16Mi',
    idmap: 'pod',
    nestedDir: 'x',
  },
  { type: 'nfs4', source: 'server:/export', options: 'ro,vers=4.2,addr=192.0.2.1' },
  { type: 'fuse.sshfs', source: 'user@host:/srv', options: 'allow_other', idmap: 'pod' },
  { type: 'fuse3.bindfs', source: '/srv/a', uidmap: '0:100000:65536', gidmap: '0:100000:65536' },
  {
    mounts:
      '[{"source":"/srv/a"},{"type":"tmpfs","target":"x","options":["size=1m"]},{"type":"overlay","target":"y","options":["lowerdir=/a:/b"]}]',
  },
];

function attributesIn(value: unknown): Record<string, string>[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === 'volumeAttributes' ? [inner as Record<string, string>] : attributesIn(inner),
  );
}

export const POLICIES = [
  DEFAULT_POLICY_TEXT,
  `version: 1
rules:
  - name: tenants
    class: inline
    namespaces: [team-*, a]
    serviceAccounts: ['team-a/web', web]
    types: [tmpfs, overlay, bind, image, nfs, fuse.sshfs]
    fsTypes: [ext4, squashfs]
    roots:
      - {path: '/srv/\${namespace}', access: read-write, requireMountpoint: true, trusted: false}
    writable: ['no', ephemeral, persistent]
    readOnlyViewsOnly: false
    options:
      tmpfs: {huge: 'never|always', noswap: true}
    flags: [suid, exec]
    contexts: ['system_u:object_r:container_file_t:s0:c[0-9]+']
    helpers:
      sshfs: {sources: ['[a-z]+@host:/.*'], options: {reconnect: true}, program: /usr/bin/sshfs, user: '1000:1000'}
    sources: {nfs: ['server:/.*']}
    idmap: {kinds: [explicit, owner], onDisk: [0-65535], shown: [100000-165535]}
    sizeLimit: {default: 1Mi, max: 1Gi}
    size: {max: 10Gi}
    mkfs: true
    devices: false
    block: true
    maxVolumes: 5
`,
  'version: 1\nrules: []\n',
];

/** As the driver writes them. */
export const RECORDS = [
  formatRecord(
    newRecord(
      {
        ...{ kind: 'publish', volumeId: 'volume', path: TARGETS[0] ?? '', state: 'done' },
        ...{ fingerprint: 'f00d', accessMode: 'SINGLE_NODE_WRITER', shape: 'mount', layer: true },
        mount: { type: 'overlay', device: '0:42', root: '/' },
        volume: { kind: 'overlay', type: 'overlay', sources: ['/srv/a', '/srv/b'] },
      },
      'b0071d',
    ),
  ),
  formatRecord(
    newRecord(
      {
        ...{ kind: 'publish', volumeId: 'v', path: '/x', state: 'waiting', cover: 'nested', shape: 'tree' },
        ...{ fingerprint: '', accessMode: 'MULTI_NODE_READER_ONLY', device: { image: '/srv/image' } },
        pod: { namespace: 'a', name: 'b', uid: 'c', serviceAccount: 'd' },
        request: {
          ...{ volumeContext: { type: 'tmpfs' }, mountFlags: ['ro'], fsType: 'ext4', fsGroup: 7 },
          ...{ accessMode: 'SINGLE_NODE_WRITER', readonly: true, stagingPath: '/y', block: false },
        },
      },
      'b0071d',
    ),
  ),
  '{"schema":1,"kind":"stage","volumeId":"v","path":"/s","state":"intended","fingerprint":"","accessMode":"","bootId":"x"}',
  '{"schema":7,"kind":"stage","volumeId":"v","path":"/s","state":"dreaming","more":[1,2,3],"bootId":"x"}',
];
