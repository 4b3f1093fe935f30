// Makes one image, for make-image.test.ts to kill: `node make-image.fixture.ts PATH [FILESYSTEM BYTES]`.
import { localEngine } from '../../../src/mount/engine.ts';
import type { MadeFilesystem } from '../../../src/mount/image/make.ts';

const [, , path = '', filesystem = 'ext4', bytes = 8 * 2 ** 20] = process.argv;
await using engine = localEngine();
const root = { uid: 1000, gid: 2000, mode: 0o2775 };
await engine.makeImage({ path, bytes: Number(bytes), filesystem: filesystem as MadeFilesystem, root });
