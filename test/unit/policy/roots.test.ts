// Where sources may lie: roots with variables, and that whatever a volume says, nothing else is ever granted.
import path from 'node:path/posix';
import { expect } from 'chai';
import fc from 'fast-check';
import { authorize } from '../../../src/policy/authorize.ts';
import { PolicyError, type Root } from '../../../src/policy/policy.ts';
import { bindingsOf, isWithin, matchRoot, mayContain, plainPath } from '../../../src/policy/roots.ts';
import type { PartVolume, PodInfo, Volume } from '../../../src/volume/volume.ts';
import { cases } from '../../support/cases.ts';
import { bind, filesystem, fuse, image, mounts, NO_FACTS, overlay, POD, policyOf, tmpfs } from './volumes.ts';

const rootAt = (at: string): Root => ({
  ...{ path: at, access: 'read-only', requireMountpoint: false, trusted: false },
});

describe('a root', () => {
  const rows: readonly (readonly [root: string, source: string, at: string | undefined])[] = [
    ['/', '/', '/'],
    ['/', '/srv/a', '/'],
    ['/srv', '/srv', '/srv'],
    ['/srv', '/srv/a/b', '/srv'],
    ['/srv', '/srvx', undefined],
    ['/srv', '/', undefined],
    ['/srv/${namespace}', '/srv/team-a/x', '/srv/team-a'],
    ['/srv/${namespace}', '/srv/team-b/x', undefined],
    ['/srv/${namespace}', '/srv', undefined],
    ['/srv/ns-${namespace}-x', '/srv/ns-team-a-x', '/srv/ns-team-a-x'],
    ['/srv/ns-${namespace}-x', '/srv/ns-x', undefined],
    ['/srv/${namespace}/${serviceAccount}', '/srv/team-a/web/data', '/srv/team-a/web'],
    ['/srv/${namespace}/${serviceAccount}', '/srv/team-a/other/data', undefined],
    ['/${namespace}/x/${namespace}', '/team-a/x/team-a', '/team-a/x/team-a'],
    ['/${namespace}/x/${namespace}', '/team-a/x/team-b', undefined],
  ];
  for (const [root, source, at] of rows) {
    it(`${root} is ${at ?? 'nothing'} for ${source}`, () => {
      expect(matchRoot(rootAt(root), source, bindingsOf(POD))).to.equal(at);
    });
  }

  it('takes its variables from the path where nobody knows the pod, each once', () => {
    const bindings = bindingsOf(undefined);
    const root = rootAt('/srv/${namespace}/${serviceAccount}');
    expect(matchRoot(root, '/srv/a/b/data', bindings)).to.equal('/srv/a/b');
    expect(matchRoot(root, '/srv/a/c/data', bindings)).to.equal(undefined);
    expect(matchRoot(root, '/srv/a/b/more', bindings)).to.equal('/srv/a/b');
    expect([...bindings]).to.deep.equal([
      ['namespace', 'a'],
      ['serviceAccount', 'b'],
    ]);
  });

  it('leaves variables alone where it does not fit', () => {
    const bindings = bindingsOf(undefined);
    expect(matchRoot(rootAt('/${namespace}/srv'), '/a/x', bindings)).to.equal(undefined);
    expect(bindings.size).to.equal(0);
  });

  const contained: readonly (readonly [outer: string, inner: string, is: boolean])[] = [
    ['/', '/srv', true],
    ['/srv', '/srv', true],
    ['/srv', '/srvx', false],
    ['/srv/a', '/srv', false],
    ['/srv/${namespace}', '/srv/a/b', true],
    ['/srv/a', '/srv/${namespace}/b', true],
    ['/srv/${namespace}', '/srv/${serviceAccount}', true],
    ['/srv/x-${namespace}', '/srv/y-${namespace}', false],
    ['/srv/x-${namespace}', '/srv/${namespace}', true],
    ['/srv/${namespace}', '/srv/A', false],
  ];
  for (const [outer, inner, is] of contained) {
    it(`${outer} ${is ? 'may contain' : 'never contains'} ${inner}`, () => {
      expect(mayContain(outer, inner)).to.equal(is);
    });
  }

  const plain: readonly (readonly [text: string, path: string | undefined])[] = [
    ['/srv', '/srv'],
    ['//srv///a/./b/', '/srv/a/b'],
    ['/', '/'],
    ['srv', undefined],
    ['', undefined],
    ['/srv/..', undefined],
    ['/../srv', undefined],
    ['/srv/..a', '/srv/..a'],
    ['/srv\0', undefined],
    ['/srv\n', undefined],
  ];
  for (const [text, is] of plain) {
    it(`${JSON.stringify(text)} is the path ${is}`, () => expect(plainPath(text)).to.equal(is));
  }
});

describe('whatever a volume says', () => {
  const policy = policyOf(
    `class: inline
types: ['*', 'fuse.*']
fsTypes: ['*']
namespaces: ['team-*']
roots: [{ path: '/srv/\${namespace}' }, { path: '/srv/\${namespace}/rw', access: read-write }]
readOnlyViewsOnly: false
writable: ['no', ephemeral, persistent]
mkfs: true
helpers: { bindfs: {} }`,
    `class: inline
types: ['*']
roots: [{ path: '/by/\${serviceAccount}' }]`,
    `class: persistent
types: ['*']
fsTypes: ['*']
roots: [{ path: '/pv/\${namespace}/x', access: read-write }]
writable: ['no', persistent]
devices: true`,
  );

  const component = fc.oneof(
    { arbitrary: fc.constantFrom('data', 'x', 'rw'), weight: 4 },
    fc.constantFrom('srv', 'by', 'pv', 'team-a', 'team-b', 'x', 'rw', 'web', 'dev', 'proc', 'etc', 'sda'),
    fc.constantFrom('..', '.', '', ' ', '${namespace}', '*', '\0', '\n', '..;', 'team-a/..', '%2e%2e', '~'),
  );
  const tail = fc.array(component, { maxLength: 4 });
  const start = fc.constantFrom(
    '/srv/team-a',
    '/srv/team-a/rw',
    '/by/web',
    '/pv/team-a/x',
    '/srv',
    '',
    '/',
    'srv',
    '/dev',
  );
  const likely = fc.constantFrom('/srv/team-a', '/srv/team-a/rw', '/pv/team-a/x');
  const source = fc
    .tuple(fc.oneof(start, likely), tail)
    .map(([before, after]) => [before, ...after].join('/'));
  const name = fc.constantFrom(
    'team-a',
    'team-b',
    'web',
    '',
    '..',
    '.',
    'team-a/..',
    '*',
    'team-',
    'srv',
    'team-a\n',
  );
  const odd = fc
    .tuple(name, name)
    .map(([namespace, serviceAccount]): PodInfo => ({ ...POD, namespace, serviceAccount }));
  const pod = fc.oneof({ arbitrary: fc.constant(POD), weight: 2 }, odd);
  const common = fc.record({
    inline: fc.boolean(),
    pod: fc.option(pod, { nil: undefined }),
    options: fc.subarray(['ro', 'rw', 'noatime', 'size=1m']),
  });
  const part: fc.Arbitrary<PartVolume> = fc
    .tuple(fc.array(source, { minLength: 1, maxLength: 3 }), common)
    .chain(([paths, changes]) => {
      const [first = '', second = '', third = ''] = paths;
      return fc.constantFrom<PartVolume>(
        bind(first, changes),
        overlay(paths, changes),
        overlay([first], { ...changes, writable: { is: 'persistent', upperdir: second, workdir: third } }),
        image(first, { ...changes, make: { filesystem: 'ext4', bytes: 1 } }),
        image(first, changes),
        filesystem('xfs', first, changes),
        fuse('bindfs', first, changes),
        tmpfs(changes),
      );
    });
  const volume: fc.Arbitrary<Volume> = fc.oneof(
    part,
    fc.array(part, { minLength: 1, maxLength: 3 }).map(([first, ...others]) => {
      const { inline = true, pod: of = undefined } = first ?? {};
      return mounts(...[first, ...others].flatMap((each) => (each ? { ...each, inline, pod: of } : [])));
    }),
  );

  function pathsOf(of: Volume): { path: string; writes: boolean }[] {
    const ro = of.options.findLast((option) => option === 'ro' || option === 'rw') === 'ro';
    switch (of.kind) {
      case 'mounts':
        return of.parts.flatMap((each) => pathsOf(each.volume));
      case 'tmpfs':
        return [];
      case 'overlay': {
        const { writable } = of;
        const upper = writable.is === 'persistent' ? [writable.upperdir, writable.workdir] : [];
        return [
          ...of.lowerdir.map((layer) => ({ path: layer.path, writes: false })),
          ...upper.map((each) => ({ path: each, writes: true })),
        ];
      }
      case 'image':
        return [{ path: of.source, writes: of.make !== undefined || !(ro || of.filesystem === 'squashfs') }];
      default:
        return [{ path: of.source, writes: !ro }];
    }
  }

  /** Written down by hand from the policy above. */
  function rootsFor(of: Volume): { path: string; writes: boolean }[] {
    const namespaces = of.pod
      ? [of.pod.namespace]
      : ['team-a', 'team-b', 'x', 'rw', 'web', 'srv', 'by', 'pv', 'dev', 'proc', 'etc', 'sda'];
    const named = namespaces.filter((text) => /^[a-z-]*[a-z]$/.test(text));
    if (!of.inline) {
      return [
        ...named.map((text) => ({ path: `/pv/${text}/x`, writes: true })),
        { path: '/dev', writes: true },
      ];
    }
    const account = of.pod?.serviceAccount ?? '';
    return [
      ...named
        .filter((text) => text.startsWith('team-'))
        .flatMap((text) => [
          { path: `/srv/${text}`, writes: false },
          { path: `/srv/${text}/rw`, writes: true },
        ]),
      ...(/^[a-z-]*[a-z]$/.test(account) ? [{ path: `/by/${account}`, writes: false }] : []),
    ];
  }

  it('its sources lie in roots of the policy, and only those are granted', () => {
    let granted = 0;
    fc.assert(
      fc.property(volume, (of) => {
        let roots: readonly { readonly path: string }[];
        try {
          roots = authorize(policy, of, NO_FACTS).sourceRoots;
        } catch (error) {
          if (error instanceof PolicyError) return;
          throw error;
        }
        const allowed = rootsFor(of);
        for (const root of roots) expect(allowed.map((each) => each.path)).to.include(root.path);
        for (const { path: text, writes } of pathsOf(of)) {
          granted++;
          const resolved = path.resolve('/nowhere', text);
          expect(text).to.match(/^\/\P{Cc}*$/u);
          const fitting = roots.filter((root) => isWithin(resolved, root.path));
          const [longest] = fitting.toSorted((a, b) => b.path.length - a.path.length);
          const found = allowed.find((each) => each.path === longest?.path);
          expect(found, text).to.not.equal(undefined);
          expect(found?.writes || !writes, `${text} is written`).to.equal(true);
        }
      }),
      { numRuns: cases(5_000) },
    );
    expect(granted, 'sources that were granted, of all that were tried').to.be.greaterThan(100);
  });
});
