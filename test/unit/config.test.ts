// The configuration of `serve`: for each option its default, its variable, its flag, and what it does not take.
import { hostname } from 'node:os';
import { expect } from 'chai';
import { type Config, OPTIONS, readConfig, type Settings, variableOf } from '../../src/config.ts';

interface Row {
  readonly flag: string;
  readonly variable: string;
  readonly fallback: unknown;
  /** As written, and as read. */
  readonly values: readonly (readonly [text: string, value: unknown])[];
  readonly wrong: readonly (readonly [text: string, message: RegExp])[];
}

const level = {
  fallback: 'info',
  values: ['error', 'warn', 'info', 'debug'].map((name) => [name, name] as const),
};

const ROWS: { readonly [K in keyof Settings]: Row } = {
  socket: {
    flag: 'endpoint',
    variable: 'CSI_IDMAP_ENDPOINT',
    fallback: '/csi/csi.sock',
    values: [
      ['unix:///run/csi.sock', '/run/csi.sock'],
      ['unix:/run/csi.sock', '/run/csi.sock'],
      ['/run/csi.sock', '/run/csi.sock'],
    ],
    wrong: [
      ['', /is empty/],
      ['tcp://127.0.0.1:9000', /only unix/],
      ['unix:', /names no path/],
      ['unix://run/csi.sock', /names a host; did you mean unix:\/\/\/run/],
      [`unix:///${'x'.repeat(108)}`, /107 at most/],
    ],
  },
  nodeId: {
    flag: 'node-id',
    variable: 'CSI_IDMAP_NODE_ID',
    fallback: hostname(),
    values: [
      ['node-1', 'node-1'],
      ['n'.repeat(256), 'n'.repeat(256)],
    ],
    wrong: [
      ['', /must have 1 to 256 bytes/],
      ['n'.repeat(257), /must have 1 to 256 bytes/],
      ['é'.repeat(129), /must have 1 to 256 bytes/],
    ],
  },
  startupTaint: {
    flag: 'startup-taint',
    variable: 'CSI_IDMAP_STARTUP_TAINT',
    fallback: undefined,
    values: [
      ['', undefined],
      ['idmap.csi.dev/agent-not-ready', 'idmap.csi.dev/agent-not-ready'],
      ['not-ready', 'not-ready'],
    ],
    wrong: [
      ['/not-ready', /must be the key of a taint/],
      ['a/b/c', /must be the key of a taint/],
      ['idmap.csi.dev/', /must be the key of a taint/],
      ['key=value', /must be the key of a taint/],
      ['key:NoSchedule', /must be the key of a taint/],
      ['k'.repeat(64), /must be the key of a taint/],
    ],
  },
  driverName: {
    flag: 'driver-name',
    variable: 'CSI_IDMAP_DRIVER_NAME',
    fallback: 'idmap.csi.dev',
    values: [
      ['x', 'x'],
      ['my-idmap.example.com', 'my-idmap.example.com'],
      [`a${'.a'.repeat(31)}`, `a${'.a'.repeat(31)}`],
    ],
    wrong: [
      ['', /must be a domain name/],
      ['.csi', /must be a domain name/],
      ['csi.', /must be a domain name/],
      ['1csi', /must be a domain name/],
      ['a_b', /must be a domain name/],
      ['a/b', /must be a domain name/],
      ['a'.repeat(64), /at most 63 characters/],
    ],
  },
  stateDir: {
    flag: 'state-dir',
    variable: 'CSI_IDMAP_STATE_DIR',
    fallback: '/var/lib/kubelet/plugins/idmap.csi.dev',
    values: [
      ['/state', '/state'],
      ['/state//of/./it/', '/state/of/it'],
      ['/', '/'],
    ],
    wrong: [
      ['state', /must be an absolute path/],
      ['', /must be an absolute path/],
    ],
  },
  kubeletDir: {
    flag: 'kubelet-dir',
    variable: 'CSI_IDMAP_KUBELET_DIR',
    fallback: '/var/lib/kubelet',
    values: [
      ['/data/kubelet', '/data/kubelet'],
      ['/data/kubelet/', '/data/kubelet'],
      ['/data/../kubelet', '/kubelet'],
    ],
    wrong: [['kubelet', /must be an absolute path/]],
  },
  registration: {
    flag: 'registration',
    variable: 'CSI_IDMAP_REGISTRATION',
    fallback: 'on',
    values: ['on', 'off'].map((name) => [name, name] as const),
    wrong: [['true', /must be one of on, off$/]],
  },
  registrationDir: {
    flag: 'registration-dir',
    variable: 'CSI_IDMAP_REGISTRATION_DIR',
    fallback: '/var/lib/kubelet/plugins_registry',
    values: [['/registration', '/registration']],
    wrong: [['registration', /must be an absolute path/]],
  },
  registrationEndpoint: {
    flag: 'registration-endpoint',
    variable: 'CSI_IDMAP_REGISTRATION_ENDPOINT',
    fallback: '/var/lib/kubelet/plugins/idmap.csi.dev/csi.sock',
    values: [
      ['unix:///data/kubelet/plugins/x/csi.sock', '/data/kubelet/plugins/x/csi.sock'],
      ['/data/kubelet/plugins/x/csi.sock', '/data/kubelet/plugins/x/csi.sock'],
    ],
    wrong: [
      ['unix:csi.sock', /must be an absolute path/],
      ['tcp://127.0.0.1:9000', /only unix/],
    ],
  },
  policyFile: {
    flag: 'policy',
    variable: 'CSI_IDMAP_POLICY',
    fallback: undefined,
    values: [
      ['/etc/csi-driver-idmap/policy.yaml', '/etc/csi-driver-idmap/policy.yaml'],
      ['', undefined],
    ],
    wrong: [['policy.yaml', /must be an absolute path/]],
  },
  maxVolumes: {
    flag: 'max-volumes',
    variable: 'CSI_IDMAP_MAX_VOLUMES',
    fallback: 0,
    values: [
      ['0', 0],
      ['110', 110],
      ['2147483647', 2_147_483_647],
    ],
    wrong: ['', '-1', '1.5', '1e3', '0x10', 'many', '2147483648', '9'.repeat(40)].map(
      (text) => [text, /must be a whole number from 0 to 2147483647$/] as const,
    ),
  },
  userNamespaces: {
    flag: 'user-namespaces',
    variable: 'CSI_IDMAP_USER_NAMESPACES',
    fallback: 'auto',
    values: ['auto', 'nri', 'nested'].map((name) => [name, name] as const),
    wrong: [['none', /must be one of auto, nri, nested$/]],
  },
  nriSocket: {
    flag: 'nri-socket',
    variable: 'CSI_IDMAP_NRI_SOCKET',
    fallback: '/var/run/nri/nri.sock',
    values: [['/run/nri/nri.sock', '/run/nri/nri.sock']],
    wrong: [
      ['nri.sock', /must be an absolute path/],
      ['', /must be an absolute path/],
    ],
  },
  fsgroup: {
    flag: 'fsgroup',
    variable: 'CSI_IDMAP_FSGROUP',
    fallback: 'idmap',
    values: ['idmap', 'kubelet'].map((name) => [name, name] as const),
    wrong: [['chown', /must be one of idmap, kubelet$/]],
  },
  fuseMode: {
    flag: 'fuse-mode',
    variable: 'CSI_IDMAP_FUSE_MODE',
    fallback: 'inline',
    values: ['inline', 'host'].map((name) => [name, name] as const),
    wrong: [['outline', /must be one of inline, host$/]],
  },
  fuseHostSocket: {
    flag: 'fuse-host-socket',
    variable: 'CSI_IDMAP_FUSE_HOST_SOCKET',
    fallback: '/var/lib/kubelet/plugins/idmap.csi.dev/fuse-host.sock',
    values: [['/run/fuse-host.sock', '/run/fuse-host.sock']],
    wrong: [['fuse-host.sock', /must be an absolute path$/]],
  },
  mountApi: {
    flag: 'mount-api',
    variable: 'CSI_IDMAP_MOUNT_API',
    fallback: 'auto',
    values: ['auto', 'modern', 'classic'].map((name) => [name, name] as const),
    wrong: [['ancient', /must be one of auto, modern, classic$/]],
  },
  disabledFeatures: {
    flag: 'disable-kernel-feature',
    variable: 'CSI_IDMAP_DISABLE_KERNEL_FEATURE',
    fallback: [],
    values: [
      ['', []],
      ['statmount', ['statmount']],
      ['fsopen,openat2, statmount', ['fsopen', 'openat2', 'statmount']],
    ],
    wrong: [
      ['teleport', /the features are open-tree, move-mount, /],
      ['fsopen,', /the features are /],
      ['FSOPEN', /the features are /],
    ],
  },
  metricsAddress: {
    flag: 'metrics-address',
    variable: 'CSI_IDMAP_METRICS_ADDRESS',
    fallback: undefined,
    values: [
      ['127.0.0.1:9810', { host: '127.0.0.1', port: 9810 }],
      ['[::1]:9810', { host: '::1', port: 9810 }],
      ['fd00::1:9810', { host: 'fd00::1', port: 9810 }],
      ['localhost:0', { host: 'localhost', port: 0 }],
      [':65535', { host: '', port: 65_535 }],
      ['', undefined],
    ],
    wrong: [
      ['9810', /must be HOST:PORT/],
      ['127.0.0.1', /must be HOST:PORT/],
      ['127.0.0.1:', /must be HOST:PORT/],
      ['127.0.0.1:65536', /must be HOST:PORT/],
      ['::1', /must be HOST:PORT/],
      ['1:2:3:4:5:6:7:8', /must be HOST:PORT/],
      ['node:1:9810', /must be HOST:PORT/],
      ['[localhost]:9810', /must be HOST:PORT/],
      ['http://127.0.0.1:9810', /must be HOST:PORT/],
    ],
  },
  logLevel: {
    flag: 'log-level',
    variable: 'CSI_IDMAP_LOG_LEVEL',
    ...level,
    wrong: [
      ['loud', /must be one of error, warn, info, debug/],
      ['INFO', /must be one of/],
      ['', /must be one of/],
    ],
  },
  logFormat: {
    flag: 'log-format',
    variable: 'CSI_IDMAP_LOG_FORMAT',
    fallback: 'json',
    values: [
      ['json', 'json'],
      ['text', 'text'],
    ],
    wrong: [['xml', /must be one of json, text/]],
  },
};

describe('the configuration', () => {
  it('has a row here for each option, and a flag of its own for each', () => {
    expect(Object.keys(OPTIONS).toSorted()).to.deep.equal(Object.keys(ROWS).toSorted());
    const flags = Object.values(OPTIONS).map(({ flag }) => flag);
    expect(new Set(flags).size).to.equal(flags.length);
  });

  for (const [key, { flag, variable, fallback, values, wrong }] of Object.entries(ROWS) as [
    keyof Settings,
    Row,
  ][]) {
    describe(`--${flag}`, () => {
      it(`is ${variable} in the environment`, () => {
        expect(OPTIONS[key].flag).to.equal(flag);
        expect(variableOf(flag)).to.equal(variable);
      });

      it(`is ${JSON.stringify(fallback)} by default`, () =>
        expect(readConfig({}, {})[key]).to.deep.equal(fallback));

      for (const [text, value] of values) {
        it(`takes ${text.slice(0, 40)}, from either`, () => {
          expect(readConfig({ [flag]: text }, {})[key]).to.deep.equal(value);
          expect(readConfig({}, { [variable]: text })[key]).to.deep.equal(value);
        });
      }

      it('wins over the variable, which is then not even read', () => {
        const [[text, value] = ['', '']] = values;
        expect(readConfig({ [flag]: text }, { [variable]: '\0 nonsense' })[key]).to.deep.equal(value);
      });

      for (const [text, message] of wrong) {
        it(`refuses ${JSON.stringify(text.slice(0, 40))}, naming flag or variable, value and what is allowed`, () => {
          const read = (where: () => Config, name: string) =>
            expect(where)
              .to.throw(message)
              .with.property('message')
              .that.satisfies((said: string) => said.startsWith(`${name} ${JSON.stringify(text)}: `), name);
          read(() => readConfig({ [flag]: text }, {}), `--${flag}`);
          read(() => readConfig({}, { [variable]: text }), variable);
        });
      }
    });
  }

  it('the state lies below the kubelet directory of the driver, unless it is given', () => {
    const flags = { 'kubelet-dir': '/data/kubelet/', 'driver-name': 'other.csi.dev' };
    expect(readConfig(flags, {}).stateDir).to.equal('/data/kubelet/plugins/other.csi.dev');
    expect(readConfig({ ...flags, 'state-dir': '/state' }, {}).stateDir).to.equal('/state');
    const environment = { CSI_IDMAP_KUBELET_DIR: '/from/env' };
    expect(readConfig({}, environment).stateDir).to.equal('/from/env/plugins/idmap.csi.dev');
  });

  it('what kubelet is to find lies below its directory, too', () => {
    const flags = { 'kubelet-dir': '/data/kubelet/', 'driver-name': 'other.csi.dev' };
    expect(readConfig(flags, {})).to.include({
      registrationDir: '/data/kubelet/plugins_registry',
      registrationEndpoint: '/data/kubelet/plugins/other.csi.dev/csi.sock',
    });
  });

  it('a driver name that is wrong is refused as that, not as the state directory that follows from it', () => {
    expect(() => readConfig({ 'driver-name': '../..' }, {})).to.throw(/^--driver-name/);
  });

  it('other variables and flags are not looked at', () => {
    expect(readConfig({ unknown: 'x' }, { LOG_LEVEL: 'debug', CSI_IDMAP_UNKNOWN: 'x' })).to.deep.equal(
      readConfig({}, {}),
    );
  });

  it('what is said of the kernel is in one place for the engine, by its default: what the kernel has', () => {
    expect(readConfig({}, {}).kernel).to.deep.equal({ api: undefined, disabled: [] });
    const flags = { 'mount-api': 'classic', 'disable-kernel-feature': 'statmount,fsopen' };
    expect(readConfig(flags, {}).kernel).to.deep.equal({
      api: 'classic',
      disabled: ['statmount', 'fsopen'],
    });
  });

  it('cannot be changed, nor what is in it', () => {
    const config = readConfig({}, {});
    expect(config).to.be.frozen;
    for (const value of Object.values(config)) if (value instanceof Object) expect(value).to.be.frozen;
  });
});
