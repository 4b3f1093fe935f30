// Mount options that no rule can allow, and why: paths have keys of their own, where they are checked (`lowerdir=` in
// options could name any directory of the node), and propagation, loop devices and ID maps are the driver's affair. A
// policy that lists one is refused when it is read.
import { OPTION_TABLE } from '../mount/options.ts';
import { hasControl } from '../volume/parse.ts';
import { ALWAYS } from './options.ts';

/** What no rule can allow, by why. In small letters: programs differ in what they make of others. */
const FORBIDDEN: readonly (readonly [why: string, names: readonly string[]])[] = [
  [
    'a path goes by a key of its own',
    [
      ...['lowerdir', 'upperdir', 'workdir', 'datadir', 'source', 'device', 'devname', 'journal_path'],
      ...[
        'journal_dev',
        'logdev',
        'rtdev',
        'jdev',
        'usrjquota',
        'grpjquota',
        'prjquota',
        'fsid',
        'domain_id',
      ],
      ...['subvol', 'subvolid', 'root', 'dir', 'path', 'prefixpath', 'unc', 'aname', 'subdir', 'modules'],
      ...[
        'subtype',
        'fsname',
        'blkdev',
        'cache_dir',
        'cache-dir',
        'cachedir',
        'tmpdir',
        'tmp_dir',
        'temp_dir',
      ],
      ...['log_file', 'log-file', 'logfile', 'debug_file', 'config', 'config_file', 'config-file', 'conf'],
      ...[
        'statepath',
        'writedir',
        'plugins',
        'mountpoint',
        'pidfile',
        'ca_file',
        'cacert',
        'cert',
        'certfile',
      ],
    ],
  ],
  [
    'a secret, or the file that holds it, is not for options: others can read them',
    [
      ...['password', 'password2', 'pass', 'passwd', 'password_stdin', 'password_file', 'passwd_file'],
      ...['credentials', 'cred', 'secret', 'secretfile', 'key', 'keyfile', 'key_file', 'key-file', 'keyring'],
      ...['identityfile', 'identityagent', 'certificatefile', 'userknownhostsfile', 'globalknownhostsfile'],
      ...['revokedhostkeys', 'pkcs11provider', 'securitykeyprovider'],
    ],
  ],
  [
    'it has a program run, or a connection made, on the node',
    [
      ...['ssh_command', 'sftp_server', 'proxycommand', 'proxyusefdpass', 'localcommand', 'remotecommand'],
      ...['permitlocalcommand', 'knownhostscommand', 'proxyjump', 'controlpath', 'controlmaster', 'include'],
      ...['match', 'f', 'forwardagent', 'localforward', 'remoteforward', 'dynamicforward', 'tunnel'],
      ...['xauthlocation', 'setuid', 'setgid', 'drop_privileges', 'auto_unmount', 'command'],
      ...['password_command', 'directport', 'passive'],
    ],
  ],
  [
    'descriptors, identities and ID maps of a mount are the affair of the driver, which makes it',
    [
      ...['fd', 'rfdno', 'wfdno', 'pgrp', 'user_id', 'group_id', 'rootmode', 'user', 'users', 'nouser'],
      ...['owner', 'group', 'uidmap', 'gidmap', 'rootuid', 'rootgid', 'idmapupper', 'mkdir', 'allow_root'],
    ],
  ],
  ['a loop device is set up for an image by itself', ['loop', 'offset', 'sizelimit', 'direct-io']],
  ['mounts are made, shared and cut off by the driver alone', ['move']],
  [
    'security labels go by `contexts` of the policy',
    [
      ...['context', 'fscontext', 'defcontext', 'rootcontext', 'seclabel', 'smackfsdef', 'smackfsdefault'],
      ...['smackfsfloor', 'smackfshat', 'smackfsroot', 'smackfstransmute'],
    ],
  ],
  [
    'overlayfs would follow what the files of its layers say; `trusted` roots of the policy allow what can be',
    ['metacopy', 'redirect_dir', 'index', 'volatile', 'userxattr', 'nfs_export', 'verity', 'override_creds'],
  ],
  ['it goes by `flags` of the policy', ['suid', 'dev', 'exec']],
];

/** Those that are known by name. */
export const FORBIDDEN_NAMES: readonly string[] = FORBIDDEN.flatMap(([, names]) => names);

const why = new Map(FORBIDDEN.flatMap(([reason, names]) => names.map((name) => [name, reason] as const)));

/** Why no rule can allow an option of this name; undefined where one can. */
export function forbidden(name: string): string | undefined {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(name)) {
    return 'a name has letters, digits and _ . - only';
  }
  if (/^x-/i.test(name)) return 'it is a note to mount(8)';
  return why.get(name.toLowerCase()) ?? ofTheEngine(name);
}

/** What the engine itself acts on, but for what every volume may say. Flags of superblocks are harmless. */
function ofTheEngine(name: string): string | undefined {
  const row = OPTION_TABLE.find((candidate) => candidate.name === name);
  if (row === undefined || row.is.scope === 'superblock' || ALWAYS.has(name)) return undefined;
  return 'mounts are made, shared and cut off by the driver alone';
}

/** fsconfig(2) takes no longer ones. */
const MAX_VALUE = 255;

/** No path, for all its slashes. */
const ADDRESS = /^https?:\/\/[\w.-]+(:\d+)?(\/[\w.~-]*)*$/;

/** What no value may hold, whatever the pattern of a rule lets pass. */
export function contentProblem(value: string): string | undefined {
  if (value.length > MAX_VALUE) return `a value has at most ${MAX_VALUE} characters`;
  // Another option begins there for mount(2) and for helpers.
  if (hasControl(value) || /[,\\"']/.test(value)) {
    return 'a value has no commas, quotes, backslashes and control characters';
  }
  if (value.includes('/') && !ADDRESS.test(value)) return 'a path goes by a key of its own';
  if (value.toLowerCase() === 'panic') return 'an error of a filesystem must not stop the node';
  return undefined;
}
