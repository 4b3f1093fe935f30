// A thousand user namespaces, a hundred at a time, beside a storm of processes that Node spawns and reaps.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import { AT_FDCWD, MOUNT_ATTR, OPEN_TREE } from '../../../src/sys/constants.ts';
import type { Fd } from '../../../src/sys/fd.ts';
import { mountSetattr, openTree } from '../../../src/sys/syscalls.ts';
import { createUserNamespace } from '../../../src/userns/create.ts';
import { formatKernelMap, type UserMapping } from '../../../src/userns/mapping.ts';
import { eventually, mountPlace, ownerOf, writeFiles } from '../../support/fixtures.ts';
import { descendants, openDescriptors } from '../../support/leaks.ts';
import { needTool } from '../../support/need.ts';
import { mapsInAll } from './maps.ts';
import { describeWays } from './ways.ts';

const AT_A_TIME = 100;
/** Processes of the storm that are alive at the same time. */
const STORM = 2;

/** Each has its own ids, so that a foreign one would be seen. */
const mappingOf = (number: number): UserMapping => ({
  uid: [{ container: 0, host: 1_000_000 + number * 100, size: 100 }],
  gid: [{ container: 7, host: 2_000_000 + number * 50, size: 50 }],
});

interface Storm extends AsyncDisposable {
  readonly reaped: () => number;
}

function storm(): Storm {
  let over = false;
  let reaped = 0;
  const blow = async () => {
    while (!over) {
      const child = spawn('true', { stdio: 'ignore' });
      const [status] = await once(child, 'exit');
      expect(status).to.equal(0);
      reaped++;
    }
  };
  const all = Promise.all(Array.from({ length: STORM }, blow));
  return {
    reaped: () => reaped,
    async [Symbol.asyncDispose]() {
      over = true;
      await all;
    },
  };
}

/** Owners on disk: the first and the last id that each mapping shows, and one that it does not. */
const OWNERS = [
  [0, 7],
  [99, 56],
  [100, 57],
] as const;
const NOBODY = 65_534;

/** Who owns these files where this namespace maps them. */
function shownBy(namespace: Fd, directory: string): string[] {
  using tree = openTree(AT_FDCWD, directory, OPEN_TREE.OPEN_TREE_CLONE | OPEN_TREE.OPEN_TREE_CLOEXEC);
  const set = MOUNT_ATTR.MOUNT_ATTR_IDMAP;
  mountSetattr(tree, 0, { set, clear: 0, propagation: 0, usernsFd: namespace.number });
  return OWNERS.map((_, i) => ownerOf(`/proc/self/fd/${tree.number}/${i}`));
}

describeWays('many user namespaces beside a storm of processes', ({ options, without }) => {
  // 1,000; fewer in the ways that are there for older kernels.
  const rounds = without.length === 0 ? 10 : 2;

  it('come without an error, are right, and leave nothing', async function () {
    needTool(this, 'nsenter', 'the maps are read inside');
    using place = mountPlace();
    for (const [i, [uid, gid]] of OWNERS.entries()) writeFiles(place.path, { [i]: { uid, gid } });
    const before = openDescriptors(process.pid);
    {
      await using weather = storm();
      for (let round = 0; round < rounds; round++) {
        using held = new DisposableStack();
        const namespaces: (readonly [number: number, namespace: Fd])[] = [];
        for (let i = 0; i < AT_A_TIME; i++) {
          const number = round * AT_A_TIME + i;
          namespaces.push([number, held.use(createUserNamespace(mappingOf(number), options))]);
          if (i % 10 === 0) await turn();
        }
        for (const [number, namespace] of namespaces) {
          const [uid, gid] = [1_000_000 + number * 100, 2_000_000 + number * 50];
          expect(shownBy(namespace, place.path)).to.deep.equal([
            `${uid}:${gid}`,
            `${uid + 99}:${gid + 49}`,
            `${NOBODY}:${NOBODY}`,
          ]);
        }
        // And as the kernel has them, of some: each takes two processes.
        const some = namespaces.filter(([number]) => number % 10 === 0);
        const expected = some.map(([number]) => {
          const { uid, gid } = mappingOf(number);
          return { uid: formatKernelMap(uid), gid: formatKernelMap(gid) };
        });
        expect(await mapsInAll(some.map(([, { number }]) => number))).to.deep.equal(expected);
      }
      expect(weather.reaped()).to.be.greaterThan(5);
    }
    expect(openDescriptors(process.pid)).to.deep.equal(before);
    await eventually('no process is left', () => descendants(process.pid).length === 0);
  });
});
