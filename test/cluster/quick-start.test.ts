// docs/quick-start.md as a new user types it: every command of the page, as it stands there, in its order. What a page
// cannot know of this node is added to `helm install`: where its runtime's socket is.
import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { install, needChart, uninstall, VALUES_OF_NODE } from './chart.ts';
import { kubectl, script } from './cluster.ts';
import { environment } from './where.ts';

const ROOT = join(import.meta.dirname, '../..');
const run = promisify(execFile);

/** What is typed at once, by the line that begins it, and what the page says of it. */
const EXPECTED: Readonly<Record<string, RegExp>> = {
  'kubectl create namespace': /STATUS: deployed/,
  'kubectl -n csi-driver-idmap rollout status':
    /successfully rolled out[\s\S]*idmap\.csi\.dev[\s\S]*Phase: +Succeeded/,
  'kubectl apply -f examples/tmpfs.yaml': /tmpfs +64\.0M +0 +64\.0M +0% +\/data/,
  'mkdir -p /srv/data': /^$/,
  'kubectl apply -f examples/owner.yaml':
    /uid=1000 gid=1000[\s\S]*1000 +1000 .* greeting[\s\S]*1000 +1000 .* mine/,
  'ls -ln /srv/data': /1234 1234 .* greeting[\s\S]*1234 1234 .* mine/,
  'helm uninstall': /uninstalled/,
};

describe('the quick start on a real node', function () {
  this.timeout('10m');
  before(async function () {
    await needChart(this);
    await script('load-image', 'library/busybox:1.37', 'busybox');
    await uninstall();
    await kubectl('delete', 'namespace', 'csi-driver-idmap', '--wait');
  });
  after(async () => {
    rmSync('/srv/data', { recursive: true, force: true });
    await install();
  });

  it('does what it says', async () => {
    const blocks = blocksOf(readFileSync(join(ROOT, 'docs/quick-start.md'), 'utf8'));
    const beginnings = Object.keys(EXPECTED);
    expect(blocks).to.have.length(beginnings.length);
    for (const [index, block] of blocks.entries()) {
      const beginning = beginnings[index] ?? '';
      expect(block.startsWith(beginning), block).to.equal(true);
      const { stdout } = await run('bash', ['-euc', `${HELM}\n${block}`], { env: environment, cwd: ROOT });
      expect(stdout, block).to.match(EXPECTED[beginning] ?? /^$/);
    }
  });
});

const HELM = `helm() { if [ "$1" = install ]; then command helm "$@" -f ${VALUES_OF_NODE}; else command helm "$@"; fi; }`;

/** Blocks of commands, without those that the page itself says are not run. */
const blocksOf = (page: string): string[] =>
  [...page.matchAll(/(<!-- not run .*-->\n)?```sh\n([\s\S]*?)```/g)].flatMap(([, skipped, block = '']) =>
    skipped === undefined ? [block] : [],
  );
