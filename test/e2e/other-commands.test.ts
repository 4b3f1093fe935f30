// `doctor`, `demo` and the help, as their users have them.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { OPTIONS, variableOf } from '../../src/config.ts';
import { VERSION } from '../../src/version.ts';
import { temporaryDirectory, unmountCommand, writeFiles } from '../support/fixtures.ts';
import { needRoot, needTool } from '../support/need.ts';
import { nriHost, startNriHost } from '../support/nri-host.ts';
import { AS_NOBODY, expectSuccess, run } from './command.ts';
import { startNode } from './node.ts';
import { podInfo, volumeOn } from './volume.ts';

describe('the command doctor', () => {
  it('says of each feature whether it is here; exit status 1 exactly when one is not that all needs', () => {
    const result = run(['doctor', '--json']);
    const { kernel, architecture, features } = JSON.parse(result.stdout) as {
      kernel: string;
      architecture: string;
      features: {
        name: string;
        here: string;
        because?: string;
        neededFor: string;
        since: string;
        essential: boolean;
      }[];
    };
    expect(kernel).to.equal(readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim());
    expect(architecture).to.equal(process.arch);
    expect(features).to.not.be.empty;
    for (const { name, here, because, neededFor } of features) {
      expect(here, name).to.be.oneOf(['yes', 'no', 'unknown']);
      expect(neededFor, name).to.be.a('string').that.is.not.empty;
      if (here !== 'yes') expect(because, name).to.be.a('string').that.is.not.empty;
    }
    expect(result.status).to.equal(
      features.some(({ here, essential }) => essential && here === 'no') ? 1 : 0,
    );

    const text = run(['doctor']);
    expect(text.status).to.equal(result.status);
    for (const { name } of features) expect(text.stdout).to.contain(name);
  });

  it('says how pods with user namespaces are served, by what the runtime of the node has', async function () {
    using place = temporaryDirectory();
    const socket = place.at('nri.sock');
    const without = run(['doctor', '--nri-socket', socket]).stdout;
    expect(without).to.match(/NRI at .*nri.sock: .*ENOENT.*\n.*\(--user-namespaces auto: nested\)/s);
    this.timeout('10m'); // The first run builds a runtime.
    await using _host = await startNriHost(await nriHost(this), socket);
    const { stdout } = run(['doctor', '--json', '--nri-socket', socket]);
    expect(JSON.parse(stdout).nri).to.deep.equal({
      ...{ socket, way: 'nri', because: 'nri-host 1.2.3 registers plugins there' },
    });
  });

  it('lists the volumes of the node by its records, and which of them are not mounted', async function () {
    needRoot(this, 'the plugin mounts');
    await using node = await startNode();
    const env = { CSI_IDMAP_KUBELET_DIR: node.kubeletDir };
    const doctor = (...flags: string[]) => run(['doctor', ...flags], { env }).stdout;
    expect(doctor()).to.contain(`\nvolumes by ${node.stateDir}: none\n`);
    writeFiles(node.at('data'), { file: 'text' });
    await using volume = volumeOn(node, {
      context: { type: 'overlay', lowerdir: node.at('data'), writable: 'ephemeral' },
    });
    const volumeContext = { ...volume.context, ...podInfo(volume.id) };
    expect(await volume.publish({ volumeContext })).to.include({ code: 'OK' });
    const found = {
      ...{ kind: 'publish', volumeId: volume.id, path: volume.target, state: 'done', mounted: true },
      ...{ type: 'overlay', sources: [node.at('data')], pod: `default/pod-of-${volume.id}` },
    };
    const { volumes, unreadable } = JSON.parse(doctor('--json')).volumes;
    expect(unreadable).to.deep.equal({});
    expect(volumes).to.have.length(1);
    expect(volumes[0]).to.include({ ...found, sources: volumes[0].sources });
    expect(volumes[0].sources).to.deep.equal(found.sources);
    expect(existsSync(volumes[0].layer)).to.equal(true);
    unmountCommand(volume.target);
    writeFileSync(join(node.stateDir, 'records', 'odd.json'), '{}');
    const text = doctor();
    expect(text).to.contain(
      `\n  ${volume.id}: overlay publish, done, nothing is mounted\n    ${volume.target}\n`,
    );
    expect(text).to.match(/\n {2}odd\.json\n {4}cannot be read: /);
    rmSync(join(node.stateDir, 'records', 'odd.json'));
  });

  it('without root says what it could not find out, and does not fail for that', function () {
    needRoot(this, 'to become nobody');
    needTool(this, 'runuser', 'to become nobody');
    const { status, stdout, stderr } = run(['doctor'], { wrapper: AS_NOBODY });
    expect(stderr).to.equal('');
    expect(stdout).to.contain('not as root');
    expect(status).to.be.oneOf([0, 1]);
  });
});

describe('the command demo', () => {
  it('shows one data set with the owners of each pod, and leaves nothing', function () {
    needRoot(this, 'it mounts');
    needTool(this, 'nsenter', 'processes in the user namespaces of its pods');
    needTool(this, 'unshare', 'a mount namespace where nobody else mounts meanwhile');
    using directory = temporaryDirectory();
    const result = run(['demo'], {
      wrapper: ['unshare', '--mount', '--'],
      env: { TMPDIR: directory.path },
    });
    expectSuccess(result);
    const { stdout } = result;
    expect(stdout).to.match(/\b0:0 +100000:100000 +200000:200000 +0:0 +0:0$/m);
    expect(stdout).to.match(/\b1000:1000 +101000:101000 +201000:201000 +1000:1000 +1000:1000$/m);
    expect(stdout).to.match(/pod A .*: uid 0 read [1-9]\d* bytes, wrote note and gave it to 1000/);
    expect(stdout).to.match(/pod B .*: uid 0 read [1-9]\d* bytes, wrote note and gave it to 1000/);
    expect(stdout).to.match(/Left behind: mounts 0, .*processes 0, directories 0\n$/);
    expect(readdirSync(directory.path)).to.deep.equal([]);
  });

  it('without root: one line that says so, the plan, exit status 0', function () {
    needRoot(this, 'to become nobody');
    needTool(this, 'runuser', 'to become nobody');
    const result = run(['demo'], { wrapper: AS_NOBODY });
    expectSuccess(result);
    const [line, ...steps] = result.stdout.trimEnd().split('\n');
    expect(line).to.match(/needs root .*sudo make demo.*plan/);
    expect(steps.length).to.be.greaterThan(5);
    for (const step of steps) expect(step).to.match(/^ {2}\S/);
  });
});

describe('the help', () => {
  it('--help names every command, --version the version; both exit 0', () => {
    const help = run(['--help']);
    expectSuccess(help);
    for (const command of ['serve', 'fuse-host', 'mount', 'unmount', 'plan', 'userns', 'doctor', 'demo']) {
      expect(help.stdout).to.match(new RegExp(`^ {2}${command} `, 'm'));
    }
    const version = run(['--version']);
    expectSuccess(version);
    expect(version.stdout).to.equal(`${VERSION}\n`);
  });

  it('serve --help names every flag with its variable', () => {
    const help = run(['serve', '--help']);
    expectSuccess(help);
    const shown = help.stdout.replace(/\s+/g, ' ');
    for (const { flag } of Object.values(OPTIONS)) {
      expect(shown).to.match(new RegExp(` --${flag} <[A-Za-z:|]+> .*\\[env: ${variableOf(flag)}\\]`));
    }
  });
});
