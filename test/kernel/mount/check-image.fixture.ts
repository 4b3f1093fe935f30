// Checks one ext4 image, for check-image.test.ts, which has a system call of it fail:
// `node check-image.fixture.ts PATH [DIRECTORY]...`, those where the checker is. Prints the result.
import { localEngine } from '../../../src/mount/engine.ts';

const [, , path = '', ...directories] = process.argv;
await using engine = localEngine();
const programs = directories.length > 0 ? { directories } : {};
process.stdout.write(JSON.stringify(await engine.checkImage({ path, filesystem: 'ext4', programs })));
