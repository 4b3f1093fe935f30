// The control groups of FUSE helpers where fuse-host is not alone in its own: in a container, whose init is its parent.
// Version 2 forbids groups below one that has processes. (fuse-host.test.ts: what the groups are for.)
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { needPermission, needRoot } from '../support/need.ts';

const ROOT = '/sys/fs/cgroup';
const FIXTURE = join(import.meta.dirname, 'control-groups.fixture.ts');

describe('control groups of FUSE helpers, version 2', () => {
  before(function () {
    needRoot(this, 'control groups are made');
    needPermission(this, hasMemory(), `the control groups of this machine are of version 1`);
  });

  const WAYS = [
    {
      title: 'below the group of a process that is alone in it',
      script: '"$@"',
      has: /\/fuse-\w+-\w+\/cgroup\.procs$/,
    },
    { title: 'and of one with its init', script: '"$@"; exit $?', has: /\/fuse-\w+-\w+\/cgroup\.procs$/ },
    {
      title: 'not with a stranger in it',
      script: 'sleep 4711 & "$@"; kill $!; wait || true',
      has: /^none: EBUSY/,
    },
  ];
  for (const { title, script, has } of WAYS) {
    it(title, () => {
      const group = join(ROOT, `csi-driver-idmap-test-${process.pid}`);
      mkdirSync(group);
      try {
        const enter = script === '"$@"' ? `exec ${script}` : script;
        const shell = `echo $$ >${group}/cgroup.procs; ${enter}`;
        const said = execFileSync('sh', ['-c', shell, 'sh', process.execPath, FIXTURE], { encoding: 'utf8' });
        expect(said.trim()).to.match(has);
        if (!said.startsWith('none')) expect(said).to.contain(group);
      } finally {
        removeGroup(group);
      }
    });
  }
});

const hasMemory = (): boolean => {
  try {
    return readFileSync(join(ROOT, 'cgroup.subtree_control'), 'utf8').split(/\s+/).includes('memory');
  } catch {
    return false;
  }
};

/** With the one that fuse-host moves to. What was in them has ended. */
function removeGroup(group: string): void {
  for (const path of [join(group, 'fuse-host'), group]) {
    try {
      rmdirSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}
