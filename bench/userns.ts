// User namespaces: made in either way, and found in the cache. Part of `npm run bench`; alone: `node bench/userns.ts`.
import { userNamespaces } from '../src/userns/cache.ts';
import { createUserNamespace } from '../src/userns/create.ts';
import { parseIdMapping } from '../src/userns/mapping.ts';
import { measure, report } from './measure.ts';

/** In one round, so that what takes microseconds has digits. */
const TIMES = 100;

const ids = parseIdMapping('0:100000:65536', 'mapping');
const mapping = { uid: ids, gid: ids };
using cache = userNamespaces();
const times = (make: () => Disposable) => () => {
  for (let i = 0; i < TIMES; i++) make()[Symbol.dispose]();
};
const spawned = { has: (feature: string) => feature !== 'clone-pidfd' };

const measured = await measure(
  [
    { name: 'found in the cache', round: times(() => cache.lease(mapping)) },
    { name: 'made by clone(2)', round: times(() => createUserNamespace(mapping)) },
    { name: 'made by unshare(1)', round: times(() => createUserNamespace(mapping, spawned)) },
  ],
  11,
);
console.log(report(`${TIMES} user namespaces with a mapping`, measured));
