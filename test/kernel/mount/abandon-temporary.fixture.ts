// Mounts a tmpfs for a while, says where, and waits to be killed.
import { localEngine } from '../../../src/mount/engine.ts';
import { tempMount } from '../../../src/mount/temporary.ts';

const [, , location = ''] = process.argv;
const tmpfs = { type: 'tmpfs', source: 'abandoned', options: [] };
const { path } = await tempMount(localEngine(), [tmpfs], { location });
console.log(path);
setInterval(() => undefined, 1_000);
