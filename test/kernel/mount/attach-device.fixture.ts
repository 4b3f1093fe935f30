// Shows an image as a device, for device.test.ts to kill: `node attach-device.fixture.ts API IMAGE TARGET`.
import { localEngine } from '../../../src/mount/engine.ts';

const [, , api = 'modern', image = '', target = ''] = process.argv;
await using engine = localEngine(api === 'classic' ? { api } : {});
await engine.attachDevice({ image, target: { path: target }, readOnly: false, create: true });
