// What a policy file may hold, and what is said of one that is wrong.
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { DEFAULT_POLICY_TEXT } from '../../../src/policy/default.ts';
import { FORBIDDEN_NAMES } from '../../../src/policy/forbidden-options.ts';
import { PolicyFileError, readPolicy } from '../../../src/policy/read.ts';

const rule = (keys: string) => `version: 1\nrules:\n  - class: persistent\n    types: [bind]\n${keys}`;

function problemsOf(text: string): readonly string[] {
  try {
    readPolicy(text);
  } catch (error) {
    if (error instanceof PolicyFileError) return error.problems;
    throw error;
  }
  return [];
}

describe('a policy file', () => {
  it('says what it says, and allows nothing else', () => {
    const [read] = readPolicy(`
version: 1
rules:
  - class: inline
    types: [overlay]
`).rules;
    expect(read).to.deep.include({
      ...{ label: 'rules[0]', class: 'inline', namespaces: undefined, serviceAccounts: undefined },
      ...{ fsTypes: [], roots: [], writable: ['no'], readOnlyViewsOnly: true, flags: ['exec'], contexts: [] },
      ...{ mkfs: false, devices: false, block: false, maxVolumes: undefined },
      idmap: { kinds: [], onDisk: undefined, shown: undefined },
      sizeLimit: { default: undefined, max: undefined },
      size: { max: undefined },
    });
    expect(read?.options.size).to.equal(0);
    expect(read?.helpers.size).to.equal(0);
  });

  it('shows plain binds of administrators, unless it says otherwise', () => {
    expect(readPolicy(rule('')).rules[0]?.readOnlyViewsOnly).to.equal(false);
    expect(readPolicy(rule('    readOnlyViewsOnly: true')).rules[0]?.readOnlyViewsOnly).to.equal(true);
  });

  it('reads sizes as Kubernetes does, and ids as ranges', () => {
    const [read] = readPolicy(
      rule(`    sizeLimit: { default: 64Mi, max: 1e9 }
    size: { max: 1048576 }
    idmap: { kinds: [explicit], onDisk: [0, 1000-1999], shown: ['100000-165535'] }`),
    ).rules;
    expect(read?.sizeLimit).to.deep.equal({ default: 64 * 2 ** 20, max: 1e9 });
    expect(read?.size.max).to.equal(2 ** 20);
    expect(read?.idmap.onDisk).to.deep.equal([
      { from: 0, to: 0 },
      { from: 1000, to: 1999 },
    ]);
    expect(read?.idmap.shown).to.deep.equal([{ from: 100_000, to: 165_535 }]);
  });

  it('takes the `no` that Helm makes false', () => {
    expect(readPolicy(rule('    writable: [false, ephemeral]')).rules[0]?.writable).to.deep.equal([
      'no',
      'ephemeral',
    ]);
  });

  it('with no rules is one that allows nothing', () => {
    expect(readPolicy('version: 1\nrules: []').rules).to.deep.equal([]);
  });

  const wrong: readonly (readonly [what: string, text: string, problem: RegExp])[] = [
    ['nothing', '', /^the file.*expected object/],
    ['no YAML', 'rules: [', /^no YAML: .*line 1/s],
    ['two documents', 'version: 1\nrules: []\n---\nversion: 1', /^no YAML: /],
    ['an alias of nothing', 'version: 1\nrules: *none', /^no YAML: .*Unresolved alias/],
    [
      'much from little text',
      ['a: &a [1, 1]', ...'bcdefghij']
        .map((line, i, all) => {
          const before = all[i - 1]?.at(0);
          return i === 0 ? line : `${line}: &${line} [${`*${before},`.repeat(10)}]`;
        })
        .join('\n'),
      /^no YAML: Excessive alias count/,
    ],
    ['more brackets than can be read', '['.repeat(10_000), /^no YAML: /],
    ['a key twice', 'version: 1\nversion: 1\nrules: []', /^no YAML: .*unique/],
    ['no version', 'rules: []', /^version: /],
    ['another version', 'version: 2\nrules: []', /^version \(line 1\): 2: expected 1/],
    ['no rules', 'version: 1', /^rules: expected array/],
    ['an unknown key', 'version: 1\nrule: []\nrules: []', /there is no key rule; did you mean rules\?/],
    [
      'an unknown key of a rule',
      rule('    root: []'),
      /^rules\[0\] \(line 3\): there is no key root; .*roots\?/,
    ],
    ['a key like no other', rule('    frobnicate: 1'), /no key frobnicate; the keys are name, class, /],
    [
      'an unknown class',
      'version: 1\nrules: [{class: inlin, types: [bind]}]',
      /^rules\[0\]\.class \(line 2\): "inlin": .*"inline"/,
    ],
    ['no types', 'version: 1\nrules: [{class: inline}]', /^rules\[0\]\.types: /],
    ['an empty list of namespaces', rule('    namespaces: []'), /^rules\[0\]\.namespaces/],
    [
      'a namespace that is none',
      rule('    namespaces: ["a/b"]'),
      /^rules\[0\]\.namespaces\[0\] \(line 5\): "a\/b": must be the name of a namespace/,
    ],
    [
      'an interface of the kernel',
      rule('').replace('bind', 'proc'),
      /^rules\[0\]\.types\[0\].*proc shows the node itself/,
    ],
    ['images of no filesystem', rule('').replace('bind', 'image'), /image needs fsTypes/],
    [
      'a helper without a row',
      rule('').replace('bind', 'fuse.sshfs'),
      /fuse\.sshfs needs a row sshfs in helpers/,
    ],
    ['a server type without sources', rule('').replace('bind', 'nfs'), /nfs needs a row nfs in sources/],
    [
      'sources for a path type',
      rule('    sources: { ext4: ["x"] }'),
      /^rules\[0\]\.sources\.ext4.*go by roots/,
    ],
    ['a helper with a slash', rule('    helpers: { "../sh": {} }'), /no name of a program/],
    [
      'a helper with a name that no type could have',
      rule(`    helpers: { ${'a'.repeat(64)}: {} }`),
      /no name of a program/,
    ],
    [
      'a program with a control character in its path',
      rule('    helpers: { sshfs: { program: "/bin/sshfs\\0" } }'),
      /^rules\[0\]\.helpers\.sshfs\.program.*must be the absolute path/,
    ],
    ...['/bin/../sshfs', '/bin/', '//sshfs', '/'].map(
      (program) =>
        [
          `the program ${program}`,
          rule(`    helpers: { sshfs: { program: ${program} } }`),
          /must be the absolute path/,
        ] as const,
    ),
    [
      'a relative program',
      rule('    helpers: { sshfs: { program: bin/sshfs } }'),
      /must be the absolute path/,
    ],
    ['a helper that would be root', rule('    helpers: { sshfs: { user: "0:1000" } }'), /of its own/],
    ['a helper in the group of root', rule('    helpers: { sshfs: { user: "1000:0" } }'), /of its own/],
    ...['65534:65534', '65534:61001', '61001:65534', '65534'].map(
      (user) =>
        [
          `a helper that would be nobody: ${user}`,
          rule(`    helpers: { sshfs: { user: "${user}" } }`),
          /^rules\[0\]\.helpers\.sshfs\.user.*65534 is the user of many containers.*such as 61001:61001/,
        ] as const,
    ),
    ['a user by name', rule('    helpers: { sshfs: { user: nobody } }'), /must be the numbers/],
    [
      'a pattern that is none',
      rule('    options: { nfs: { vers: "4(" } }'),
      /^rules\[0\]\.options\.nfs\.vers.*(Unterminated|Invalid)/,
    ],
    [
      'a pattern that leaves the whole',
      rule('    options: { nfs: { vers: "4)|(.*" } }'),
      /^rules\[0\]\.options\.nfs\.vers.*Unmatched/,
    ],
    [
      'an option that is false',
      rule('    options: { nfs: { vers: false } }'),
      /pattern of the value, or true/,
    ],
    [
      'a size that is none',
      rule('    sizeLimit: { max: much }'),
      /^rules\[0\]\.sizeLimit\.max \(line 5\): .*is no size/,
    ],
    [
      'a default above the largest',
      rule('    sizeLimit: { default: 2Gi, max: 1Gi }'),
      /sizeLimit\.default.*larger than max/,
    ],
    [
      'a range backwards',
      rule('    idmap: { kinds: [explicit], shown: [5-4] }'),
      /^rules\[0\]\.idmap\.shown\[0\].*"5-4": must be an id or a range/,
    ],
    [
      'an id that is none',
      rule('    idmap: { kinds: [explicit], shown: [4294967295] }'),
      /must be an id or a range/,
    ],
    ['a mapping kind that is none', rule('    idmap: { kinds: [none] }'), /idmap\.kinds\[0\]/],
    ['a negative count', rule('    maxVolumes: -1'), /^rules\[0\]\.maxVolumes/],
  ];
  for (const [what, text, problem] of wrong) {
    it(`is refused with ${what}`, () => expect(problemsOf(text).join('\n')).to.match(problem));
  }

  it('says all that is wrong at once', () => {
    expect(problemsOf(rule('    mkfs: 1\n    devices: 2'))).to.have.length(2);
  });

  const roots: readonly (readonly [path: string, problem: RegExp])[] = [
    ['srv', /absolute/],
    ['/srv/', /trailing/],
    ['/srv//a', /doubled/],
    ['/srv/../etc', /\.\./],
    ['/srv/./a', /without \. and \.\./],
    ['/srv/${pod}', /has a variable pod; there are namespace and serviceAccount/],
    ['/srv/${namespace}-${serviceAccount}', /two variables in one component/],
    ['/srv/$namespace', /\$ that begins no variable/],
    ['/srv/${namespace', /\$ that begins no variable/],
    ['/srv/${}', /\$ that begins no variable/],
  ];
  for (const [path, problem] of roots) {
    it(`is refused with the root ${path}`, () => {
      expect(problemsOf(rule(`    roots: [{ path: '${path}' }]`)).join()).to.match(problem);
    });
  }

  const nested: readonly (readonly [what: string, outer: string, inner: string])[] = [
    ['read-only within read-write', '{ path: /srv, access: read-write }', '{ path: /srv/golden }'],
    ['read-only within all', '{ path: /, access: read-write }', '{ path: /srv }'],
    [
      'read-only within a variable one',
      "{ path: '/srv/${namespace}', access: read-write }",
      '{ path: /srv/a/b }',
    ],
    ['the same, by a variable', "{ path: '/srv/${namespace}', access: read-write }", '{ path: /srv/golden }'],
    ['untrusted within trusted', '{ path: /srv, trusted: true }', '{ path: /srv/uploads }'],
    ['mounted within one that need not be', '{ path: /srv }', '{ path: /srv/disk, requireMountpoint: true }'],
  ];
  for (const [what, outer, inner] of nested) {
    it(`is refused with a root ${what}: a link leads from one to the other`, () => {
      const text = rule(`    roots:\n      - ${inner}\n      - ${outer}`);
      expect(problemsOf(text).join()).to.match(/^rules\[0\]\.roots\[0\].*lies within .*symbolic link/);
    });
  }

  it('has no root within one that authors of pods may write to, in whatever rule: they could replace it', () => {
    const roots = (path: string, access = 'read-only') => `roots: [{ path: '${path}', access: ${access} }]`;
    const inline = (...keys: string[]) =>
      `version: 1\nrules:\n${keys.map((text) => `  - { class: inline, types: [bind], ${text} }`).join('\n')}`;
    const wide = roots('/srv/${namespace}', 'read-write');
    for (const narrow of [roots('/srv/a/b'), roots('/srv/a/b', 'read-write'), roots('/srv/${namespace}/b')]) {
      expect(problemsOf(inline(wide, narrow)).join()).to.match(
        /^rules\[1\]\.roots\[0\].*could put a link in its place/,
      );
    }
    expect(problemsOf(inline(wide, wide, roots('/srv')))).to.deep.equal([]);
  });

  it('may have a looser root within a stricter one', () => {
    const text = rule("    roots: [{ path: /srv }, { path: '/srv/x-${namespace}', access: read-write }]");
    expect(problemsOf(text)).to.deep.equal([]);
  });

  it('has no trusted roots in an inline rule', () => {
    const text =
      'version: 1\nrules: [{class: inline, types: [overlay], roots: [{path: /srv, trusted: true}]}]';
    expect(problemsOf(text).join()).to.match(
      /^rules\[0\]\.roots\[0\].*trusted has no meaning in an inline rule/,
    );
  });

  describe('cannot allow', () => {
    const names = [
      ...FORBIDDEN_NAMES,
      ...['lowerdir+', 'datadir+', 'X-mount.mkdir', 'x-systemd.automount', '-o', 'a=b', 'a,b', ' ro', ''],
      ...[
        'shared',
        'rshared',
        'private',
        'unpeered',
        'slave',
        'unbindable',
        'rbind',
        'remount',
        'rro',
        'rsuid',
        'symfollow',
      ],
      ...['LowerDir', 'IdentityFile', 'ProxyCommand'],
    ];
    for (const [where, keys] of [
      ['a type', (name: string) => `    options: { overlay: { ${JSON.stringify(name)}: '.*' } }`],
      ['a helper', (name: string) => `    helpers: { x: { options: { ${JSON.stringify(name)}: true } } }`],
    ] as const) {
      it(`${names.length} options of ${where}`, () => {
        for (const name of names) {
          expect(problemsOf(rule(keys(name))).join(), name).to.contain('no rule can allow the option');
        }
      });
    }
  });

  it('may be the default policy, which docs have as a file', () => {
    expect(problemsOf(DEFAULT_POLICY_TEXT)).to.deep.equal([]);
    expect(readFileSync('docs/default-policy.yaml', 'utf8')).to.equal(DEFAULT_POLICY_TEXT);
  });

  it('may be any of the examples in docs/policy.md', () => {
    const page = readFileSync('docs/policy.md', 'utf8');
    const examples = [...page.matchAll(/^```yaml\n(version: 1\n.*?)^```$/gms)].map(([, text]) => text ?? '');
    expect(examples).to.not.have.length(0);
    for (const text of examples) expect(problemsOf(text), text).to.deep.equal([]);
  });
});
