// A volume of several mounts, one of them by fuse-host, that does not come about: what the caller is told is left of it.
// Engine and fuse-host are stood in for: a mount that stays busy, or a look that fails, cannot be had of a kernel at will.
import { expect } from 'chai';
import { FuseHostError } from '../../../src/fuse-host/client.ts';
import type { Engine } from '../../../src/mount/engine.ts';
import { MountError } from '../../../src/mount/errors.ts';
import type { MountRequest } from '../../../src/mount/operations.ts';
import { mountVolume } from '../../../src/node/mount-volume.ts';
import { toStatus } from '../../../src/node/reasons.ts';
import { PolicyError } from '../../../src/policy/policy.ts';
import { readVolumeContext } from '../../../src/volume/context.ts';

const busy = new MountError({ reason: 'busy', message: 'it is in use', rolledBack: false });
const FUSE = { type: 'fuse.bindfs', source: '/srv/data' };
const SEVERAL = { mounts: JSON.stringify([{ type: 'tmpfs' }, { ...FUSE, target: 'below' }]) };

interface World {
  /** What the start of the helper fails with. */
  readonly start?: Error;
  /** What the look at its mount fails with. */
  readonly lookup?: Error;
  /** What taking back fails with. */
  readonly unmount?: Error;
  readonly stop?: Error;
  /** Told of the stop of a helper. */
  readonly onStop?: (options: unknown) => void;
}

async function failureIn(context: Record<string, string>, world: World): Promise<Error> {
  const orFail = (error: Error | undefined) => () => (error ? Promise.reject(error) : Promise.resolve([]));
  const engine = {
    mountAll: orFail(undefined),
    unmountRecursive: orFail(world.unmount),
    lookup: orFail(world.lookup),
  } as unknown as Engine;
  const fuseHost = {
    start: orFail(world.start),
    stop(_target: string, options: unknown) {
      world.onStop?.(options);
      return orFail(world.stop)();
    },
  } as unknown as NonNullable<Parameters<typeof mountVolume>[3]['fuseHost']>;
  const mounts: MountRequest['mounts'] = [
    { type: 'tmpfs', source: 'tmpfs', options: [] },
    { ...FUSE, options: [], target: 'below' },
  ];
  const asked = { volumeId: 'v', volumeContext: context, mountFlags: [], fsType: '', readOnly: false };
  const request = { mounts, target: { path: '/staging' } };
  const failed = await mountVolume(
    readVolumeContext(context),
    request,
    asked,
    { engine, fuseHost },
    {
      timeoutMs: 1_000,
    },
  ).then(
    () => undefined,
    (error: Error) => error,
  );
  if (failed === undefined) throw new Error('it did not fail');
  return failed;
}

describe('a volume of several mounts of which fuse-host does not make its own', () => {
  const failures = {
    'is away': new FuseHostError('away', 'nobody answers'),
    'is of another version': new FuseHostError('version', 'too old'),
    'refuses it': new PolicyError('not allowed'),
    fails: new MountError({ reason: 'helper-failed', message: 'status 3', rolledBack: true }),
  };
  for (const [what, start] of Object.entries(failures)) {
    it(`because that ${what}, with the rest still mounted: the outcome is not known`, async () => {
      const error = await failureIn(SEVERAL, { start, unmount: busy });
      expect(error).to.be.instanceOf(MountError).and.to.include({ rolledBack: false });
      expect(error.message).to.contain(start.message).and.to.contain('it is in use');
      expect(toStatus(error).code).to.equal('UNAVAILABLE');
    });

    it(`because that ${what}, with nothing left: as it is`, async () => {
      const error = await failureIn(SEVERAL, { start });
      expect(toStatus(error).code).to.equal(toStatus(start).code);
      expect(error.message).to.equal(start.message);
    });
  }
});

describe('a FUSE filesystem that fuse-host has mounted and the driver cannot look at', () => {
  const lookup = new MountError({ reason: 'timeout', message: 'lookup did not end', rolledBack: true });

  it('is taken back', async () => {
    const stopped: unknown[] = [];
    const error = await failureIn(FUSE, { lookup, onStop: (options) => stopped.push(options) });
    expect(error).to.include({ reason: 'timeout', rolledBack: true });
    expect(stopped).to.have.length(1);
    expect(stopped[0], 'with its mount').to.include({ unmount: true });
  });

  it('and that cannot be taken back: the outcome is not known', async () => {
    const stop = new FuseHostError('away', 'nobody answers');
    expect(await failureIn(FUSE, { lookup, stop })).to.include({ reason: 'timeout', rolledBack: false });
  });
});
