// Mounts with no file descriptor left, then with one, and so on until it succeeds, for few-descriptors.test.ts, which sees
// to a low limit of them: `node few-descriptors.fixture.ts API TYPE SOURCE TARGET`. Prints what came of each try.
import { closeSync, openSync } from 'node:fs';
import { localEngine } from '../../../src/mount/engine.ts';
import { MountError } from '../../../src/mount/errors.ts';
import { mountsIn } from './engines.ts';

/** What came of a try; `mounts` are those at the target. */
export interface Try {
  readonly failed: false | { readonly reason: string; readonly rolledBack: boolean };
  readonly mounts: number;
}

const [, , api = 'modern', type = '', source = '', target = ''] = process.argv;
await using engine = localEngine(api === 'classic' ? { api } : {});
const mount = () => engine.mountAll({ mounts: [{ type, source, options: [] }], target: { path: target } });

// What is found out once has been found out.
await mount();
await engine.unmount({ target: { path: target } });
const tries: Try[] = [];
do tries.push(await tryWith(tries.length));
while (tries.at(-1)?.failed);
await engine.unmount({ target: { path: target }, all: true });
process.stdout.write(JSON.stringify(tries));

async function tryWith(descriptors: number): Promise<Try> {
  const taken = takeAll();
  for (const fd of taken.splice(0, descriptors)) closeSync(fd);
  let failed: Try['failed'] = false;
  try {
    await mount();
  } catch (error) {
    if (!(error instanceof MountError)) throw error;
    failed = { reason: error.reason, rolledBack: error.rolledBack };
  } finally {
    for (const fd of taken) closeSync(fd);
  }
  return { failed, mounts: mountsIn(target) };
}

function takeAll(): number[] {
  const taken: number[] = [];
  for (;;) {
    try {
      taken.push(openSync('/dev/null', 'r'));
    } catch {
      return taken;
    }
  }
}
