// Who may mount what.
import { expect } from 'chai';
import { authorize, PolicyError } from '../../../src/policy/policy.ts';
import { readVolumeContext, type VolumeContext } from '../../../src/volume/context.ts';

const MAPPING = '0:100000:65536';
const IDS = { uidmap: MAPPING, gidmap: MAPPING };
const INLINE = { 'csi.storage.k8s.io/ephemeral': 'true' };
const check =
  (context: VolumeContext, flags: readonly string[] = []) =>
  () =>
    authorize(readVolumeContext(context, { mountFlags: flags }));

describe('the policy', () => {
  const allowed: readonly (readonly [what: string, context: VolumeContext])[] = [
    ['a persistent bind', { source: '/etc' }],
    ['a persistent bind with an ID mapping', { source: '/etc', ...IDS }],
    ['a persistent overlay', { type: 'overlay', lowerdir: '/a', upperdir: '/u', workdir: '/w', ...IDS }],
    ['a persistent tmpfs', { type: 'tmpfs', options: 'size=1m', ...IDS }],
    ['an inline tmpfs', { ...INLINE, type: 'tmpfs', options: 'size=1m,mode=0700' }],
  ];
  for (const [what, context] of allowed) it(`allows ${what}`, () => expect(check(context)).to.not.throw());

  const refused: readonly (readonly [what: string, context: VolumeContext, message: string])[] = [
    ['an inline bind', { ...INLINE, source: '/srv' }, 'type bind is not allowed in an inline volume'],
    [
      'an inline overlay',
      { ...INLINE, type: 'overlay', lowerdir: '/a' },
      'type overlay is not allowed in an inline',
    ],
    [
      'an inline ID mapping',
      { ...INLINE, type: 'tmpfs', ...IDS },
      'uidmap and gidmap are not allowed in an inline',
    ],
    [
      'an option that is not listed',
      { source: '/srv', options: 'suid' },
      'option "suid" is not allowed for type bind',
    ],
    [
      'the same inline',
      { ...INLINE, type: 'tmpfs', options: 'suid' },
      'option "suid" is not allowed for type tmpfs',
    ],
  ];
  for (const [what, context, message] of refused) {
    it(`refuses ${what}`, () => expect(check(context)).to.throw(PolicyError, message));
  }

  it('looks at every option, of the context and of the mount flags', () => {
    expect(check({ source: '/srv', options: 'noatime,ro,shared' })).to.throw(PolicyError, '"shared"');
    expect(check({ source: '/srv', options: 'noatime' }, ['ro', 'shared'])).to.throw(PolicyError, '"shared"');
    expect(check({ source: '/srv', options: 'noatime' }, ['ro', 'noexec'])).to.not.throw();
  });

  it('only "true" makes a volume inline: whoever may create a PersistentVolume writes the rest', () => {
    expect(check({ 'csi.storage.k8s.io/ephemeral': 'false', source: '/srv' })).to.not.throw();
  });
});
