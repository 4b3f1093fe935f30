// Every manifest of examples/, applied as it is to a node that has what they name (test/support/example-data.ts), and its pod
// asked for what it finds. test/e2e/examples.test.ts has the same without a cluster.
import { existsSync, mkdirSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect } from 'chai';
import {
  expectFound,
  FOUND,
  lookScript,
  needExample,
  PREPARED_DIRECTORIES,
  prepareNode,
  RAW_BYTES,
  readLook,
} from '../support/example-data.ts';
import { EXAMPLE_FILES, EXAMPLES_DIR, exampleOf } from '../support/examples.ts';
import { ownerOf } from '../support/fixtures.ts';
import { needChart } from './chart.ts';
import { kubectl, podOf, script, until, untilGone } from './cluster.ts';
import { removeEmpty } from './data.ts';
import { untilNothingIsHeld } from './held.ts';
import { inPod, untilRunning } from './pods.ts';

/** What the examples' pods run, from Debian's busybox. */
const BUSYBOX = 'library/busybox:1.37';
const DISK = '/dev/disk/by-id/virtio-data-part1';
/** Says that what lies beside it is of these tests, and may be taken away. */
const OURS = '/srv/.csi-driver-idmap-tests';

describe('the examples on a real node', function () {
  this.timeout('5m');
  const stack = new AsyncDisposableStack();

  before(async function () {
    await needChart(this);
    for (const file of EXAMPLE_FILES) needExample(this, file);
    await script('load-image', BUSYBOX, 'busybox');
    takePlaces();
    stack.defer(leavePlaces);
    const { disk } = stack.use(prepareNode('/'));
    mkdirSync(join(DISK, '..'), { recursive: true });
    symlinkSync(relative(join(DISK, '..'), disk), DISK);
    stack.defer(() => unlinkSync(DISK));
    const files = EXAMPLE_FILES.flatMap((file) => ['-f', join(EXAMPLES_DIR, file)]);
    stack.defer(async () => {
      await kubectl('delete', '--wait', '--timeout=120s', '--ignore-not-found', '--now', ...files);
      await untilNothingIsHeld();
    });
    // All at once, as they are.
    await kubectl('apply', ...files);
  });
  after(() => stack.disposeAsync());

  for (const file of EXAMPLE_FILES) {
    const example = exampleOf(file);
    const { name } = example;

    it(`${file}: its pod finds what it should`, async () => {
      await untilRunning(name);
      const found = FOUND[file];
      if (found === undefined) {
        expect(example.block).to.equal(true);
        await until('it has told its size', async () => (await kubectl('logs', name)) === `${RAW_BYTES}\n`);
        return;
      }
      expectFound(found, readLook(await inPod(name, 'sh', '-c', lookScript(found.at ?? '/data', name))));
      if (typeof found.writes === 'object')
        expect(ownerOf(join('/', found.writes.in, name)), 'on disk').to.equal(found.writes.owner);
      expect(await kubectl('logs', name), 'what it says').to.not.match(/^(ls|df|find|sh|cat|touch|tail): /m);
    });

    it(`${file}: nothing is left of it on the node`, async () => {
      const pod = await podOf(name);
      await kubectl('delete', '--wait', '--timeout=120s', '--now', '-f', join(EXAMPLES_DIR, file));
      await untilGone(pod);
    });
  }
});

/** Where somebody else has something, nothing is touched. */
function takePlaces(): void {
  if (!existsSync(OURS)) {
    const taken = [...PREPARED_DIRECTORIES.map((path) => join('/', path)), DISK].find((path) =>
      existsSync(path),
    );
    if (taken !== undefined)
      throw new Error(`the examples need ${taken}, and it is there already: not touched`);
  }
  leavePlaces();
  mkdirSync('/srv', { recursive: true });
  writeFileSync(OURS, '');
}

function leavePlaces(): void {
  for (const path of PREPARED_DIRECTORIES) rmSync(join('/', path), { recursive: true, force: true });
  rmSync(DISK, { force: true });
  rmSync(OURS, { force: true });
  removeEmpty('/dev/disk/by-id', '/dev/disk', '/var/lib/csi-driver-idmap/volumes/default');
}
