// Listening on a unix socket: who may reach it, what is in the way, and how it ends.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, stat, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import { connect } from '../../../src/rpc/client.ts';
import { NodeService } from '../../../src/rpc/generated/csi.ts';
import { serveUnix, type UnixServer } from '../../../src/rpc/server.ts';
import { toImplementation } from '../../../src/rpc/service.ts';
import { captureLog, rejection, type Scratch, scratch, serveNode } from './harness.ts';

describe('rpc server', () => {
  let stack: AsyncDisposableStack;
  let place: Scratch;
  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    place = stack.use(await scratch());
  });
  afterEach(() => stack.disposeAsync());

  async function serve(path: string, idleMs?: number): Promise<UnixServer> {
    const { log } = captureLog();
    const handlers = { nodeGetInfo: async () => info };
    const services = [
      { definition: NodeService, implementation: toImplementation(NodeService, handlers, { log }) },
    ];
    return stack.use(await serveUnix({ path, services, log, ...(idleMs !== undefined && { idleMs }) }));
  }

  async function answers(path: string): Promise<boolean> {
    using client = connect(NodeService, path);
    return (await client.nodeGetInfo({})).nodeId === info.nodeId;
  }

  it('makes the directory 0700 and the socket 0600, whatever the umask, which it leaves as it was', async () => {
    const path = join(place.directory, 'deep/er/csi.sock');
    const umask = process.umask(0o000);
    try {
      await serve(path);
      expect(process.umask()).to.equal(0o000);
    } finally {
      process.umask(umask);
    }
    expect((await lstat(path)).isSocket()).to.equal(true);
    expect(mode(await stat(path))).to.equal('600');
    expect(mode(await stat(join(place.directory, 'deep/er')))).to.equal('700');
    expect(await answers(path)).to.equal(true);
  });

  it('leaves the mode of a directory that exists as it is', async () => {
    const directory = join(place.directory, 'there');
    await mkdir(directory, { mode: 0o755 });
    await serve(join(directory, 'csi.sock'));
    expect(mode(await stat(directory))).to.equal('755');
  });

  it('replaces a stale socket', async () => {
    await leaveStaleSocket(place.socket);
    expect((await lstat(place.socket)).isSocket()).to.equal(true);
    await serve(place.socket);
    expect(await answers(place.socket)).to.equal(true);
  });

  it('refuses a socket on which somebody listens, and leaves that one in peace', async () => {
    await serve(place.socket);
    const error = await rejection(serve(place.socket));
    expect(error).to.be.an('error').with.property('message');
    expect((error as Error).message)
      .to.contain(place.socket)
      .and.contain('another process is listening');
    expect(await answers(place.socket)).to.equal(true);
  });

  it('refuses a path where something else is, and leaves it there', async () => {
    await writeFile(place.socket, 'precious');
    const error = await rejection(serve(place.socket));
    expect((error as Error).message)
      .to.contain(place.socket)
      .and.contain('not a socket');
    expect((await lstat(place.socket)).isFile()).to.equal(true);
  });

  it('refuses a path that the kernel would cut off', async () => {
    const path = join(place.directory, 'x'.repeat(120));
    expect(((await rejection(serve(path))) as Error).message).to.match(
      /1\d\d bytes long, the kernel takes 107/,
    );
  });

  it('says which path it could not listen on', async () => {
    const path = join(place.directory, 'file/csi.sock');
    await writeFile(join(place.directory, 'file'), '');
    expect(((await rejection(serve(path))) as Error).message)
      .to.contain(path)
      .and.match(/EEXIST|ENOTDIR/);
  });

  it('removes the socket when it stops, and lets a successor listen there', async () => {
    const first = await serve(place.socket);
    await first[Symbol.asyncDispose]();
    expect(await rejection(lstat(place.socket))).to.include({ code: 'ENOENT' });
    await serve(place.socket);
    await first[Symbol.asyncDispose](); // A second time does nothing, to the successor neither.
    expect(await answers(place.socket)).to.equal(true);
  });

  it('waits for running calls when it stops, while it takes no new ones', async () => {
    const inside = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const { client, server, socket } = await serveNode(stack, {
      nodeGetInfo: async () => {
        inside.resolve();
        await finish.promise;
        return info;
      },
    });
    const call = client.nodeGetInfo({});
    await inside.promise;
    const stopped = server[Symbol.asyncDispose]();
    using late = connect(NodeService, socket);
    expect(await rejection(late.nodeGetInfo({}))).to.include({ code: 'UNAVAILABLE' });
    expect(await Promise.race([stopped.then(() => 'stopped'), delay(50, 'waiting')])).to.equal('waiting');
    finish.resolve();
    expect(await call).to.deep.equal(info);
    await stopped;
  });

  it('does not wait for a client that is only connected', async () => {
    const { client, server } = await serveNode(
      stack,
      { nodeGetInfo: async () => info },
      { graceMs: 2 ** 30 },
    );
    await client.nodeGetInfo({});
    await server[Symbol.asyncDispose]();
  });

  it('ends a connection that has no call for long', async () => {
    const server = await serve(place.socket, 50);
    const silent = createConnection({ path: server.path });
    silent.resume();
    await once(silent, 'close');
  });

  it('cuts calls after the grace period, by their signals', async () => {
    const inside = Promise.withResolvers<AbortSignal>();
    const { client, server, captured } = await serveNode(
      stack,
      {
        nodeGetInfo: (_request, { signal }) => {
          inside.resolve(signal);
          return delay(600_000, info, { signal });
        },
      },
      { graceMs: 100 },
    );
    const failed = rejection(client.nodeGetInfo({}));
    const signal = await inside.promise;
    await server[Symbol.asyncDispose]();
    expect(signal.aborted).to.equal(true);
    expect(await failed).to.be.an('error');
    expect(captured.text()).to.contain('cutting calls').and.not.contain('go on after');
  });

  it('waits also for a handler whose caller has left', async () => {
    const inside = Promise.withResolvers<void>();
    const caller = new AbortController();
    let done = false;
    const { client, server } = await serveNode(stack, {
      nodeGetInfo: async () => {
        inside.resolve();
        await delay(200);
        done = true;
        return info;
      },
    });
    const failed = rejection(client.nodeGetInfo({}, { signal: caller.signal }));
    await inside.promise;
    caller.abort();
    await failed;
    await server[Symbol.asyncDispose]();
    expect(done).to.equal(true);
  });

  it('gives up on a handler that heeds nothing, and says so', async () => {
    const inside = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const { client, server, captured } = await serveNode(
      stack,
      {
        nodeGetInfo: async () => {
          inside.resolve();
          await finish.promise;
          return info;
        },
      },
      { graceMs: 50 },
    );
    const failed = rejection(client.nodeGetInfo({}));
    await inside.promise;
    await server[Symbol.asyncDispose]();
    expect(captured.text()).to.contain('handlers go on after their calls were cut');
    finish.resolve();
    await failed;
  });
});

const info = { nodeId: 'n', maxVolumesPerNode: 0n, accessibleTopology: undefined };

function mode({ mode: bits }: { mode: number }): string {
  return (bits & 0o777).toString(8);
}

/** As a killed process leaves one: node itself always tidies up. */
async function leaveStaleSocket(path: string): Promise<void> {
  const child = spawn(
    process.execPath,
    ['-e', 'require("net").createServer().listen(process.argv[1], () => console.log("up"))', path],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
}
