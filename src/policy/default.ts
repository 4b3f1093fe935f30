// The policy of a node that was given none. docs/default-policy.yaml is the same text, to begin one's own from.
import type { Policy } from './policy.ts';
import { readPolicy } from './read.ts';

export const DEFAULT_POLICY_TEXT = `# The policy that holds where no other is given (--policy). What the keys mean: docs/policy.md
version: 1
rules:
  # PersistentVolumes: who may make them is an administrator of the cluster, and has the node's files anyway.
  - name: administrators
    class: persistent
    types: ['*']
    fsTypes: ['*']
    roots:
      - path: /
        access: read-write
    writable: ['no', ephemeral, persistent]
    idmap:
      kinds: [explicit, owner, pod]
    mkfs: true
    devices: true
    block: true
    sources:
      nfs: ['[^/]+:/.*']
      nfs4: ['[^/]+:/.*']
      virtiofs: ['[^/]+']
    options:
      nfs:
        addr: '[0-9A-Fa-f.:]+'
      nfs4:
        addr: '[0-9A-Fa-f.:]+'
    helpers:
      bindfs: {}
      fuse2fs: {}
      squashfuse: {}
      squashfuse_ll: {}

  # Inline volumes: who may make pods may have memory, and look at what was put there for his namespace.
  - name: pods
    class: inline
    types: [tmpfs, overlay]
    roots:
      - path: /var/lib/csi-driver-idmap/volumes/\${namespace}
        access: read-only
    writable: ['no', ephemeral]
    sizeLimit:
      default: 64Mi
      max: 1Gi
    maxVolumes: 100
`;

export const DEFAULT_POLICY: Policy = readPolicy(DEFAULT_POLICY_TEXT);
