// Makes one image, for make-image.test.ts to kill: `node make-image.fixture.ts PATH`.
import { localEngine } from '../../../src/mount/engine.ts';

const [, , path = ''] = process.argv;
await using engine = localEngine();
const root = { uid: 1000, gid: 2000, mode: 0o2775 };
await engine.makeImage({ path, bytes: 8 * 2 ** 20, filesystem: 'ext4', root });
