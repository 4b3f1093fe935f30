// From whatever is thrown to what kubelet is told. A final code means to it that nothing is mounted, so one is only
// given when that is known.
import { expect } from 'chai';
import { MOUNT_REASONS, MountError, type MountReason } from '../../../src/mount/errors.ts';
import { NodeError, REASONS, type Reason, type RequestReason, toStatus } from '../../../src/node/reasons.ts';
import { PolicyError } from '../../../src/policy/policy.ts';
import { type Code, StatusError } from '../../../src/rpc/status.ts';
import { VolumeError } from '../../../src/volume/errors.ts';

/** What kubelet takes as "not known, clean up". */
const UNCERTAIN = ['CANCELLED', 'DEADLINE_EXCEEDED', 'UNAVAILABLE', 'RESOURCE_EXHAUSTED', 'ABORTED'];

/** The contract: a code is never changed, or kubelet acts differently on the same failure. */
const CODES: Readonly<Record<Reason, keyof typeof Code>> = {
  'missing-field': 'INVALID_ARGUMENT',
  'invalid-field': 'INVALID_ARGUMENT',
  'invalid-volume': 'INVALID_ARGUMENT',
  'refused-by-policy': 'PERMISSION_DENIED',
  'operation-pending': 'ABORTED',
  'other-parameters': 'ALREADY_EXISTS',
  'published-elsewhere': 'FAILED_PRECONDITION',
  'target-in-use': 'FAILED_PRECONDITION',
  'upperdir-in-use': 'FAILED_PRECONDITION',
  'image-in-use': 'FAILED_PRECONDITION',
  'bad-image': 'FAILED_PRECONDITION',
  'image-damaged': 'FAILED_PRECONDITION',
  'cannot-grow': 'FAILED_PRECONDITION',
  'program-failed': 'FAILED_PRECONDITION',
  'program-missing': 'FAILED_PRECONDITION',
  'helper-not-found': 'FAILED_PRECONDITION',
  'helper-failed': 'FAILED_PRECONDITION',
  'not-staged': 'FAILED_PRECONDITION',
  'volume-not-found': 'NOT_FOUND',
  'record-lost': 'UNAVAILABLE',
  'fuse-host-away': 'UNAVAILABLE',
  'fuse-host-version': 'FAILED_PRECONDITION',
  'pod-unknown': 'INVALID_ARGUMENT',
  'pod-user-namespace': 'FAILED_PRECONDITION',
  'nri-unavailable': 'UNAVAILABLE',
  'out-of-range': 'OUT_OF_RANGE',
  'unseen-mounts': 'UNAVAILABLE',
  'state-not-writable': 'UNAVAILABLE',
  'invalid-mount': 'INVALID_ARGUMENT',
  'source-outside-roots': 'PERMISSION_DENIED',
  'source-not-mounted': 'FAILED_PRECONDITION',
  'source-not-found': 'NOT_FOUND',
  'bad-target': 'INVALID_ARGUMENT',
  'target-not-empty': 'FAILED_PRECONDITION',
  'kernel-unsupported': 'FAILED_PRECONDITION',
  'idmap-unsupported': 'INVALID_ARGUMENT',
  'not-permitted': 'FAILED_PRECONDITION',
  busy: 'FAILED_PRECONDITION',
  'not-writable': 'FAILED_PRECONDITION',
  'wrong-mount': 'ABORTED',
  timeout: 'DEADLINE_EXCEEDED',
  'engine-lost': 'UNAVAILABLE',
  'node-exhausted': 'RESOURCE_EXHAUSTED',
  'mount-failed': 'FAILED_PRECONDITION',
  unexpected: 'UNAVAILABLE',
};

const mountError = (reason: MountReason, rolledBack: boolean) =>
  new MountError({ reason, message: `${reason} happened`, rolledBack });

describe('the table of reasons', () => {
  const reasons = Object.keys(REASONS) as Reason[];

  it('has every reason of the engine', () => expect(reasons).to.include.members([...MOUNT_REASONS]));

  for (const reason of reasons) {
    it(`${reason}: ${CODES[reason]}, a meaning and a remedy`, () => {
      const { code, meaning, remedy } = REASONS[reason];
      expect(code).to.equal(CODES[reason]);
      expect(meaning).to.match(/^[A-Z].*\.$/);
      expect(remedy).to.match(/^[A-Z].*[.`]$/);
    });
  }
});

describe('toStatus', () => {
  for (const reason of MOUNT_REASONS) {
    const code = CODES[reason];
    it(`${reason}, rolled back: ${code}`, () => {
      expect(toStatus(mountError(reason, true))).to.include({ code, message: `${reason} happened` });
    });

    const uncertain = UNCERTAIN.includes(code) ? code : 'UNAVAILABLE';
    it(`${reason}, not rolled back: ${uncertain}`, () => {
      expect(toStatus(mountError(reason, false))).to.include({ code: uncertain });
      expect(UNCERTAIN).to.include(toStatus(mountError(reason, false)).code);
    });
  }

  const ofRequest: readonly RequestReason[] = [
    ...([
      'missing-field',
      'invalid-field',
      'invalid-volume',
      'refused-by-policy',
      'operation-pending',
    ] as const),
    ...(['other-parameters', 'published-elsewhere', 'not-staged', 'volume-not-found', 'unexpected'] as const),
  ];
  for (const reason of ofRequest) {
    it(`${reason}, found by the service: ${CODES[reason]}`, () => {
      expect(toStatus(new NodeError(reason, 'said'))).to.include({ code: CODES[reason], message: 'said' });
    });
  }

  it('a wrong volume context: INVALID_ARGUMENT, the key named', () => {
    const status = toStatus(new VolumeError('uidmap', 'is wrong'));
    expect(status).to.include({ code: 'INVALID_ARGUMENT', message: 'uidmap: is wrong' });
  });

  it('what policy refuses: PERMISSION_DENIED', () => {
    expect(toStatus(new PolicyError('no'))).to.include({ code: 'PERMISSION_DENIED', message: 'no' });
  });

  it('a status stays what it is', () => {
    const status = new StatusError({ code: 'UNIMPLEMENTED', message: 'not here' });
    expect(toStatus(status)).to.equal(status);
  });

  const unforeseen: readonly (readonly [what: string, thrown: unknown, message: string])[] = [
    ['an error', new Error('disk full'), 'disk full'],
    [
      'an error of Node',
      Object.assign(new Error('ENOSPC: no space'), { code: 'ENOSPC' }),
      'ENOSPC: no space',
    ],
    ['a defect', new TypeError('x is not a function'), 'x is not a function'],
    ['a string', 'thrown', 'thrown'],
    ['nothing', undefined, 'undefined'],
    ['an error that looks like one of ours', Object.assign(new Error('x'), { reason: 'invalid-mount' }), 'x'],
  ];
  for (const [what, thrown, message] of unforeseen) {
    it(`${what} that nobody foresaw: UNAVAILABLE, for who knows what is mounted`, () => {
      expect(toStatus(thrown)).to.include({ code: 'UNAVAILABLE', message });
    });
  }

  it('keeps what it was made of as its cause', () => {
    const error = mountError('busy', true);
    expect(toStatus(error).cause).to.equal(error);
  });
});
