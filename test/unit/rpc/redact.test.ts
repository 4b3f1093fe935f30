// What may be logged of a request, for any request.

import { expect } from 'chai';
import fc from 'fast-check';
import * as csi from '../../../src/rpc/generated/csi.ts';
import { messages, requestTypes } from '../../../src/rpc/generated/secrets.ts';
import { redact, redactRequest, secretTexts, stripped } from '../../../src/rpc/redact.ts';
import { scrubber } from '../../../src/rpc/scrub.ts';
import { cases } from '../../support/cases.ts';

const publish = '/csi.v1.Node/NodePublishVolume';
const tokens = 'csi.storage.k8s.io/serviceAccount.tokens';

describe('redaction', () => {
  it('keeps what is no secret, with sizes as text and a oneof by its case', () => {
    const request = csi.NodeExpandVolumeRequest.create({
      volumeId: 'v',
      capacityRange: { requiredBytes: 2n ** 62n },
      volumeCapability: {
        accessType: { $case: 'mount', value: { fsType: 'xfs' } },
        accessMode: { mode: 1 },
      },
      secrets: { a: 'b' },
    });
    expect(plain(redact('csi.v1.NodeExpandVolumeRequest', request))).to.deep.equal({
      volumeId: 'v',
      volumePath: '',
      capacityRange: { requiredBytes: '4611686018427387904', limitBytes: '0' },
      stagingTargetPath: '',
      volumeCapability: {
        accessType: { mount: { fsType: 'xfs', mountFlags: [], volumeMountGroup: '' } },
        accessMode: { mode: 1 },
      },
      secrets: stripped,
    });
  });

  it('strips mount flags, through a list of capabilities too', () => {
    const request = csi.ValidateVolumeCapabilitiesRequest.create({
      volumeCapabilities: [{ accessType: { $case: 'mount', value: { mountFlags: ['password=x'] } } }],
    });
    const redacted = redact('csi.v1.ValidateVolumeCapabilitiesRequest', request);
    expect(plain(redacted)).to.have.nested.property(
      'volumeCapabilities[0].accessType.mount.mountFlags',
      stripped,
    );
  });

  it('strips service account tokens and whatever else is named as a secret in a context', () => {
    const request = csi.NodePublishVolumeRequest.create({
      volumeContext: { [tokens]: 'ey...', type: 'bind', sshPassword: 'x' },
      publishContext: { 'api-token': 'y', device: '/dev/x' },
    });
    expect(plain(redactRequest(publish, request))).to.deep.include({
      volumeContext: { [tokens]: stripped, type: 'bind', sshPassword: stripped },
      publishContext: { 'api-token': stripped, device: '/dev/x' },
    });
  });

  it('strips a request of an unknown method or type whole', () => {
    expect(redactRequest('/other.Service/Call', { a: 1 })).to.equal(stripped);
    expect(redactRequest('constructor', { a: 1 })).to.equal(stripped);
    expect(redact('csi.v1.NoSuch', { a: 1 })).to.equal(stripped);
  });

  it('knows the type of the request of every method', () => {
    for (const type of Object.values(requestTypes)) expect(messages).to.have.property(type);
  });

  it('shows no secret of any request', () => {
    fc.assert(
      fc.property(anyRequest, ({ path, request }) => {
        const text = JSON.stringify(redactRequest(path, request));
        expect(text).to.not.contain(marker);
      }),
      { numRuns: cases(500) },
    );
  });

  it('never changes the request', () => {
    fc.assert(
      fc.property(anyRequest, ({ path, request }) => {
        const before = structuredClone(request);
        redactRequest(path, request);
        secretTexts(path, request);
        expect(request).to.deep.equal(before);
      }),
    );
  });

  it('shows a request without secrets in full', () => {
    fc.assert(
      fc.property(fc.dictionary(harmless, harmless), harmless, (volumeContext, volumeId) => {
        const request = csi.NodePublishVolumeRequest.create({ volumeId, volumeContext });
        expect(JSON.stringify(redactRequest(publish, request))).to.equal(JSON.stringify(request));
      }),
    );
  });
});

describe('scrubbing', () => {
  it('takes the secrets of a request out of any text made with them', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), secret), fc.string(), (secrets, around) => {
        // Not through create(), which drops a key of __proto__ (as decoding does).
        const request = { ...csi.NodePublishVolumeRequest.create(), secrets };
        const scrub = scrubber(secretTexts(publish, request));
        for (const value of Object.values(secrets)) {
          const made = {
            text: `${around}${value}${around}`,
            json: JSON.stringify({ value }),
            error: new Error(value, { cause: new Error(`inner ${value.trim()}`) }),
            list: [[value]],
          };
          const { error, ...rest } = scrub(made);
          expect(JSON.stringify([rest, error])).to.not.contain(marker);
        }
      }),
    );
  });

  it('takes the tokens out, which are inside of JSON', () => {
    const request = csi.NodePublishVolumeRequest.create({
      volumeContext: { [tokens]: JSON.stringify({ audience: { token: 'eyJhbGciOi' } }) },
    });
    expect(scrubber(secretTexts(publish, request))('Bearer eyJhbGciOi!')).to.equal(`Bearer ${stripped}!`);
  });

  it('takes the longer of two secrets out first', () => {
    expect(scrubber(['abcd', 'abcdefgh'])('abcdefgh abcd')).to.equal(`${stripped} ${stripped}`);
  });

  it('leaves words alone that a very short secret is part of', () => {
    expect(scrubber(['on', ''])('not mounted on /mnt')).to.equal('not mounted on /mnt');
  });

  it('ends in a value that contains itself', () => {
    const ring: Record<string, unknown> = {};
    ring.self = ring;
    expect(() => scrubber(['secret'])(ring)).to.not.throw();
  });
});

const marker = 'S3CRET';
/** Whatever surrounds it, what matters is inside; not at the edges, which a trim would take. */
const secret = fc.tuple(fc.string(), fc.string()).map(([before, after]) => `${before}${marker}${after}`);
const harmless = fc
  .string()
  .filter((text) => !/passw|passphrase|secret|token|credential|__proto__/i.test(text));
const contextKey = fc.constantFrom(tokens, 'csi.storage.k8s.io/serviceaccount.tokens', 'nodePassword');
/** Keys that a sloppy walk could take for something else. */
const secretKey = fc.oneof(
  fc.string(),
  fc.constantFrom('$case', 'value', '__proto__', 'constructor', 'length'),
);

const capability: fc.Arbitrary<csi.VolumeCapability> = fc.record({
  accessType: fc.oneof(
    fc.constant(undefined),
    fc.constant({ $case: 'block' as const, value: {} }),
    fc.record({
      $case: fc.constant('mount' as const),
      value: fc.record({
        fsType: harmless,
        mountFlags: fc.array(secret),
        volumeMountGroup: harmless,
      }),
    }),
  ),
  accessMode: fc.constant({ mode: 1 as const }),
});

const anyRequest = fc
  .record({
    path: fc.constantFrom(...Object.keys(requestTypes)),
    secrets: fc.dictionary(secretKey, secret),
    contexts: fc.dictionary(contextKey, secret),
    capability,
    volumeId: harmless,
  })
  .map(({ path, secrets, contexts, capability: wanted, volumeId }) => {
    // Every request is given all of these: fields that its message lacks would never come off the wire.
    const names = fieldsOf(path);
    const all: Record<string, unknown> = {
      volumeId,
      secrets,
      volumeContext: contexts,
      publishContext: contexts,
      parameters: contexts,
      volumeCapability: wanted,
      volumeCapabilities: [wanted, wanted],
    };
    const request = Object.fromEntries(Object.entries(all).filter(([name]) => names.includes(name)));
    return { path, request };
  });

function fieldsOf(path: string): string[] {
  const byName = csi as unknown as Record<string, { create(): object } | undefined>;
  return Object.keys(byName[requestTypes[path]?.replace('csi.v1.', '') ?? '']?.create() ?? {});
}

/** Without the prototypes of the copy, for comparing. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
