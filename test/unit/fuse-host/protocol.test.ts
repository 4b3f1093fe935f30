// Which versions of driver and fuse-host understand each other, and what those hear that do not: as values, and over a
// socket, from a fuse-host of another time.
import { expect } from 'chai';
import { FuseHostError, fuseHostAt } from '../../../src/fuse-host/client.ts';
import { agreeOn, commonProtocol, ProtocolError, type Protocols } from '../../../src/fuse-host/protocol.ts';
import { createLogger } from '../../../src/observe/logger.ts';
import {
  FuseHostService,
  type HelloResponse,
  type StartRequest,
} from '../../../src/rpc/generated/fusehost.ts';
import { serveUnix } from '../../../src/rpc/server.ts';
import { toImplementation } from '../../../src/rpc/service.ts';
import { temporaryDirectory } from '../../support/fixtures.ts';

const range = (oldest: number, newest: number): Protocols => ({ oldest, newest });

describe('the protocol of fuse-host', () => {
  it('is the newest that both sides speak', () => {
    expect(commonProtocol(range(1, 1), range(1, 1))).to.equal(1);
    expect(commonProtocol(range(1, 3), range(2, 5))).to.equal(3);
    expect(commonProtocol(range(2, 5), range(1, 3))).to.equal(3);
    expect(commonProtocol(range(1, 2), range(3, 4))).to.equal(undefined);
    expect(commonProtocol(range(3, 4), range(1, 2))).to.equal(undefined);
  });

  const disagreement = (driver: Protocols | undefined, host: Protocols | undefined): string => {
    const sides = {
      driver: { version: '1.0', protocols: driver },
      host: { version: '2.0', protocols: host },
    };
    try {
      return String(agreeOn(sides));
    } catch (error) {
      if (error instanceof ProtocolError) return error.message;
      throw error;
    }
  };

  it('is none where they have none in common: the older one is to be replaced', () => {
    expect(disagreement(range(3, 4), range(1, 2))).to.match(
      /^the driver \(1\.0\) and the fuse-host \(2\.0\) do not .* protocol 3 to 4 and 1 to 2; replace the fuse-host/,
    );
    expect(disagreement(range(1, 1), range(2, 2))).to.match(/protocol 1 and 2; upgrade the driver$/);
    expect(disagreement(range(1, 1), undefined)).to.match(/protocol 1 and 0; replace the fuse-host/);
  });

  async function withFuseHost(
    hello: HelloResponse,
    use: (socket: string, started: readonly StartRequest[]) => Promise<void>,
  ): Promise<void> {
    using directory = temporaryDirectory();
    const path = directory.at('host.sock');
    const log = createLogger({ level: 'error', format: 'json' });
    const started: StartRequest[] = [];
    const implementation = toImplementation(
      FuseHostService,
      {
        hello: async () => hello,
        async start(request) {
          started.push(request);
          const value = { reason: 'of-a-later-version', message: 'no', rolledBack: true, errno: '' };
          return { outcome: { $case: 'failure', value } } as const;
        },
      },
      { log },
    );
    await using _ = await serveUnix({
      path,
      log,
      services: [{ definition: FuseHostService, implementation }],
    });
    await use(path, started);
  }

  const start = (socket: string) =>
    fuseHostAt({ socket, version: '1.0' })
      .start(
        {
          ...{ volumeId: '', target: '/', volumeContext: {}, mountFlags: [], fsType: '', readOnly: false },
          ...{ podUidmap: '', podGidmap: '', part: 0, createTarget: false },
        },
        5_000,
      )
      .then(
        () => 'success',
        (error: unknown) => error,
      );

  it('is agreed on before each start, and nothing is started without', async () => {
    await withFuseHost({ version: '9.0', protocols: range(7, 9), ending: false }, async (socket, started) => {
      const error = await start(socket);
      expect(error).to.be.instanceOf(FuseHostError).and.to.include({ why: 'version' });
      expect(String(error)).to.contain('the fuse-host (9.0)').and.to.contain('upgrade the driver');
      expect(started).to.deep.equal([]);
    });
  });

  it('lets a later side say more than is known here', async () => {
    await withFuseHost({ version: '9.0', protocols: range(1, 9), ending: false }, async (socket, started) => {
      const error = await start(socket);
      expect(error).to.include({ reason: 'mount-failed', rolledBack: true });
      expect(started.map(({ protocol }) => protocol)).to.deep.equal([1]);
    });
  });

  it('has nothing started by who is ending', async () => {
    await withFuseHost({ version: '1.0', protocols: range(1, 1), ending: true }, async (socket, started) => {
      expect(await start(socket)).to.include({ why: 'away' });
      expect(started).to.deep.equal([]);
    });
  });
});
