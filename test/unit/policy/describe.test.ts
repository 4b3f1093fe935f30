// A policy as `doctor` prints it.
import { expect } from 'chai';
import { DEFAULT_POLICY } from '../../../src/policy/default.ts';
import { describePolicy } from '../../../src/policy/describe.ts';
import { policyOf } from './volumes.ts';

describe('a policy, described', () => {
  it('says of each rule what it allows, and of nothing else', () => {
    const policy = policyOf(`name: teams
class: inline
namespaces: ['team-*']
types: [tmpfs, fuse.sshfs]
roots: [{ path: '/srv/\${namespace}', requireMountpoint: true }, { path: /pub, access: read-write }]
helpers: { sshfs: { sources: ['files:.*'], options: { reconnect: true, port: '\\d+' } }, bindfs: { program: /opt/bin/restricted, user: 61001 } }
idmap: { kinds: [explicit], shown: [100000-165535] }
sizeLimit: { default: 1Ki, max: 1500 }`);
    expect(describePolicy(policy)).to.equal(`teams (rules[0]): inline volumes
  namespaces                   team-*
  types                        tmpfs, fuse.sshfs
  roots                        /srv/\${namespace}, read-only, if mounted
                               /pub, read-write
  shown by                     overlays and filesystems that are read-only by themselves
  writable layers of overlays  no
  FUSE helpers                 sshfs; sources files:.*; options reconnect, port=\\d+
                               bindfs by /opt/bin/restricted; as user 61001:61001
  flags                        exec
  ID mappings                  explicit
                               ids shown 100000-165535
  size of tmpfs and layers     1 KiB by default, at most 1500 bytes`);
  });

  it('has one paragraph a rule', () => {
    const [first, second, ...others] = describePolicy(DEFAULT_POLICY).split('\n\n');
    expect(first).to.match(/^administrators \(rules\[0\]\): persistent volumes\n/);
    expect(second).to.match(/^pods \(rules\[1\]\): inline volumes\n/);
    expect(others).to.deep.equal([]);
  });

  it('says that no rule is no volume', () => {
    expect(describePolicy(policyOf())).to.equal('no rules: no volume is allowed');
  });
});
