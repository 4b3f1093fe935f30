// The driver's own gRPC server with nothing behind it, as a process: what a call takes that does nothing. Its only argument
// is the socket.
import { createLogger } from '../src/observe/logger.ts';
import { NodeService } from '../src/rpc/generated/csi.ts';
import { serveUnix } from '../src/rpc/server.ts';
import { toImplementation } from '../src/rpc/service.ts';
import { keepHeapSmall } from '../src/sys/small-heap.ts';

keepHeapSmall();
const [socket = ''] = process.argv.slice(2);
const log = createLogger({ level: 'info', format: 'json' });
const nothing = () => Promise.resolve({});
const handlers = {
  nodeStageVolume: nothing,
  nodePublishVolume: nothing,
  nodeUnpublishVolume: nothing,
  nodeUnstageVolume: nothing,
};
const implementation = toImplementation(NodeService, handlers, { log });
await serveUnix({ path: socket, services: [{ definition: NodeService, implementation }], log });
