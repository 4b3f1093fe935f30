// Shows an image as a device, or takes it away, for device.test.ts to kill:
// `node attach-device.fixture.ts API IMAGE TARGET [unmount]`.
import { localEngine } from '../../../src/mount/engine.ts';

const [, , api = 'modern', image = '', path = '', unmount] = process.argv;
await using engine = localEngine(api === 'classic' ? { api } : {});
const target = { path };
if (unmount) await engine.unmount({ target, all: true, imageShown: true, remove: 'file' });
else await engine.attachDevice({ image, target, readOnly: false, create: true });
