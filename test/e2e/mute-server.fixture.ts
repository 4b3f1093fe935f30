// A FUSE server that goes silent: it answers what the kernel asks of the root directory until a file appears in the
// directory that it is given, and from then on takes requests and answers none. Whoever waits for one cannot be killed.
// The open /dev/fuse is its descriptor 9. Layouts: linux/fuse.h.
import { existsSync, readSync, writeSync } from 'node:fs';

const DEVICE = 9;
const OPCODE = { GETATTR: 3, STATFS: 17, INIT: 26, OPENDIR: 27, READDIR: 28, RELEASEDIR: 29 } as const;
const ENOSYS = -38;
const [directory = '/'] = process.argv.slice(2);

const request = Buffer.alloc(1024 * 1024 + 4096);
for (;;) {
  readSync(DEVICE, request, 0, request.length, null);
  const opcode = request.readUInt32LE(4);
  const unique = request.readBigUInt64LE(8);
  if (existsSync(`${directory}/mute`)) continue;
  const body = answerTo(opcode);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(16 + (body?.length ?? 0), 0);
  header.writeInt32LE(body === undefined ? ENOSYS : 0, 4);
  header.writeBigUInt64LE(unique, 8);
  writeSync(DEVICE, body === undefined ? header : Buffer.concat([header, body]));
}

function answerTo(opcode: number): Buffer | undefined {
  switch (opcode) {
    case OPCODE.INIT: {
      const body = Buffer.alloc(64);
      body.writeUInt32LE(7, 0);
      body.writeUInt32LE(31, 4);
      body.writeUInt32LE(4096, 20);
      return body;
    }
    case OPCODE.GETATTR: {
      const body = Buffer.alloc(104);
      body.writeBigUInt64LE(1n, 16);
      body.writeUInt32LE(0o40755, 76);
      body.writeUInt32LE(2, 80);
      return body;
    }
    case OPCODE.STATFS: {
      const body = Buffer.alloc(80);
      body.writeUInt32LE(4096, 40);
      return body;
    }
    case OPCODE.OPENDIR:
      return Buffer.alloc(16);
    case OPCODE.READDIR:
    case OPCODE.RELEASEDIR:
      return Buffer.alloc(0);
    default:
      return undefined;
  }
}
