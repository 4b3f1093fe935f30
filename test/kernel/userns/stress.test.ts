// Hundreds of user namespaces, a hundred at a time, beside a storm of processes that Node spawns and reaps.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import type { Fd } from '../../../src/sys/fd.ts';
import { createUserNamespace } from '../../../src/userns/create.ts';
import { formatKernelMap, type UserMapping } from '../../../src/userns/mapping.ts';
import { eventually } from '../../support/fixtures.ts';
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

describeWays('many user namespaces beside a storm of processes', ({ options, without }) => {
  // 1,000; fewer of those that take three processes each.
  const rounds = without.includes('clone-pidfd') ? 3 : 10;

  it('come without an error, are right, and leave nothing', async function () {
    needTool(this, 'nsenter', 'the maps are read inside');
    const before = openDescriptors(process.pid);
    {
      await using weather = storm();
      for (let round = 0; round < rounds; round++) {
        using held = new DisposableStack();
        const namespaces: [number, Fd][] = [];
        for (let i = 0; i < AT_A_TIME; i++) {
          const number = round * AT_A_TIME + i;
          namespaces.push([number, held.use(createUserNamespace(mappingOf(number), options))]);
          if (i % 10 === 0) await turn();
        }
        const expected = namespaces.map(([number]) => {
          const { uid, gid } = mappingOf(number);
          return { uid: formatKernelMap(uid), gid: formatKernelMap(gid) };
        });
        expect(await mapsInAll(namespaces.map(([, { number }]) => number))).to.deep.equal(expected);
      }
      expect(weather.reaped()).to.be.greaterThan(20);
    }
    expect(openDescriptors(process.pid)).to.deep.equal(before);
    await eventually('no process is left', () => descendants(process.pid).length === 0);
  });
});
