// The plugin against csi-sanity, the CSI project's own suite of what a plugin has to answer: once for each
// type of volume. Each of its specs that ran is a test here.

import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import Mocha from 'mocha';
import { connect } from '../../src/rpc/client.ts';
import { NodeService } from '../../src/rpc/generated/csi.ts';
import { mountPlace, sharedMount, unmountCommand } from '../support/fixtures.ts';
import { goTool } from '../support/go-tool.ts';
import { sparseFile } from '../support/images.ts';
import { mountTargets } from '../support/leaks.ts';
import { needRoot } from '../support/need.ts';
import { serveController } from './controller.ts';
import { runCsiSanity, type SanityOptions, type Spec, secretText } from './csi-sanity.ts';
import { type LogLine, type Plugin, startPlugin } from './plugin.ts';

/**
 * What the capabilities that the plugin advertises make csi-sanity run, and with those that want a controller on the
 * node's socket too; it skips the rest.
 */
const specsOfPlugin = 40;
const specsToRun = 42;

interface Volume {
  readonly title: string;
  /** To be there before. */
  readonly directories: readonly string[];
  readonly context: (at: (name: string) => string) => Record<string, string>;
  /** The filesystem that a pod finds at its target. */
  readonly shows: string;
  readonly accessType?: 'block';
  readonly sizes?: SanityOptions['sizes'];
  /** Makes what is to be there before, beside directories. */
  readonly prepare?: (at: (name: string) => string) => void;
}

const MIB = 2 ** 20;
const SIZES = { made: 8 * MIB, expanded: 16 * MIB };

const volumes: readonly Volume[] = [
  {
    title: 'a bind of a directory',
    directories: ['data'],
    context: (at) => ({ type: 'bind', source: at('data') }),
    // What mountPlace() is.
    shows: 'tmpfs',
  },
  {
    title: 'an idmapped overlay with a persistent upper directory',
    directories: ['l1', 'l2', 'upper', 'work'],
    context: (at) => ({
      type: 'overlay',
      lowerdir: `${at('l1')}:${at('l2')}`,
      upperdir: at('upper'),
      workdir: at('work'),
      uidmap: '0:100000:65536',
      gidmap: '0:100000:65536',
    }),
    shows: 'overlay',
  },
  {
    title: 'a tmpfs',
    directories: [],
    context: () => ({ type: 'tmpfs' }),
    shows: 'tmpfs',
  },
  {
    title: 'an image that is made',
    directories: [],
    context: (at) => ({ type: 'image', source: at('image'), fsType: 'xfs', mkfs: 'true', size: '300Mi' }),
    sizes: { made: 300 * MIB, expanded: 400 * MIB },
    shows: 'xfs',
  },
  {
    title: 'an overlay with an ephemeral layer',
    directories: ['l1'],
    context: (at) => ({ type: 'overlay', lowerdir: at('l1'), writable: 'ephemeral', sizeLimit: '16Mi' }),
    shows: 'overlay',
  },
  {
    title: 'an image as a block device',
    directories: [],
    prepare: (at) => sparseFile(at('image'), SIZES.made),
    context: (at) => ({ type: 'image', source: at('image') }),
    accessType: 'block',
    shows: 'devtmpfs',
  },
];

describe('csi-sanity', () => {
  for (const volume of volumes) {
    describe(`with ${volume.title}`, () => {
      let outcome: Outcome;

      before(async function () {
        this.timeout('20m'); // Two runs of it.
        needRoot(this, 'the plugin mounts');
        const program = await goTool(this, {
          module: 'github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity',
          version: 'v5.5.0',
        });
        outcome = await outcomeOf(program, volume);
        // Only now is it known which specs there are.
        for (const test of testsOf(outcome)) this.test?.parent?.addTest(test);
      });

      it('ends with status 0 on SIGTERM, without its socket', () => {
        expect({ status: outcome.status, socketLeft: outcome.socketLeft }).to.deep.equal({
          status: 0,
          socketLeft: false,
        });
      });

      it('leaves no mount, target, staging directory or record', () => {
        expect(outcome.left).to.deep.equal({ mounts: [], paths: [], records: [] });
      });

      it('had the volume mounted at the target after each publish', () => {
        expect(outcome.shown).to.not.be.empty;
        expect(new Set(outcome.shown)).to.deep.equal(new Set([volume.shows]));
      });

      it('logs no secret', () => {
        expect(outcome.log.filter(({ text }) => text.includes(secretText))).to.deep.equal([]);
      });
    });
  }
});

interface Outcome {
  /** How many ran against the plugin's own socket. */
  readonly direct: number;
  readonly specs: readonly Spec[];
  readonly log: readonly LogLine[];
  readonly status: number | string;
  readonly socketLeft: boolean;
  readonly left: {
    readonly mounts: readonly string[];
    readonly paths: readonly string[];
    readonly records: readonly string[];
  };
  /** The filesystems at the target after each publish that was relayed. */
  readonly shown: readonly string[];
}

async function outcomeOf(program: string, volume: Volume): Promise<Outcome> {
  const { directories, context, accessType = 'mount', sizes = SIZES, prepare } = volume;
  using place = mountPlace();
  for (const name of ['kubelet', ...directories]) mkdirSync(place.at(name));
  using _shared = sharedMount(place.at('kubelet'));
  prepare?.(place.at);
  await using plugin = await startPlugin(place.path);
  const { direct, specs, shown } = await runOnBothSockets(plugin, {
    program,
    directory: place.path,
    mountsBelow: place.at('kubelet'),
    volumeContext: context(place.at),
    ...{ accessType, sizes },
  });
  const status = await plugin.stop();

  const mounts = mountTargets()
    .map(({ target }) => target)
    .filter((target) => target.startsWith(`${place.path}/`) && target !== place.at('kubelet'));
  // The tests below tell of them.
  for (const target of mounts.toReversed()) unmountCommand('--lazy', target);
  return {
    direct,
    specs,
    shown,
    log: plugin.log,
    status,
    socketLeft: existsSync(plugin.socket),
    left: {
      mounts,
      paths: readdirSync(place.at('kubelet')).filter((name) => name !== 'plugins'),
      records: readdirSync(place.at('kubelet/plugins/idmap.csi.dev/records')),
    },
  };
}

/** The plugin's own socket, and for the specs that want a controller beside it, the controller's. */
async function runOnBothSockets(
  plugin: Plugin,
  run: Omit<SanityOptions, 'endpoint' | 'controllerEndpoint' | 'focus'>,
): Promise<Pick<Outcome, 'direct' | 'specs' | 'shown'>> {
  using node = connect(NodeService, plugin.socket);
  const shown: string[] = [];
  await using controller = await serveController({
    path: join(run.directory, 'controller.sock'),
    node: {
      ...node,
      nodePublishVolume: async (request, call) => {
        const response = await node.nodePublishVolume(request, call);
        shown.push(mountTargets().findLast(({ target }) => target === request.targetPath)?.type ?? 'nothing');
        return response;
      },
    },
  });
  const controllerEndpoint = `unix://${controller.path}`;
  const direct = await runCsiSanity({ ...run, endpoint: `unix://${plugin.socket}`, controllerEndpoint });
  const relayed = await runCsiSanity({
    ...run,
    endpoint: controllerEndpoint,
    controllerEndpoint,
    focus: 'Node Service should (work|be idempotent)$',
  });
  const ran = direct.filter(({ state }) => state === 'passed' || state === 'failed');
  return { direct: ran.length, specs: merged(direct, relayed), shown };
}

/** The specs in the order of the first run, each as the second run had it where that ran it. */
function merged(first: readonly Spec[], second: readonly Spec[]): Spec[] {
  const again = new Map(second.filter(({ state }) => state !== 'skipped').map((spec) => [spec.title, spec]));
  return first.map((spec) => again.get(spec.title) ?? spec);
}

function testsOf({ direct, specs, log }: Outcome): Mocha.Test[] {
  const inState = (wanted: Spec['state']) => specs.filter(({ state }) => state === wanted);
  const [passed, failed, blocked] = [inState('passed'), inState('failed'), inState('blocked')];
  const ran = [...passed, ...failed];
  const skipped = inState('skipped');
  const count = new Mocha.Test(
    `ran ${ran.length} specs, ${direct} of them on the plugin's own socket: ${passed.length} passed, ${failed.length} failed; skipped ${skipped.length}`,
    () => {
      expect(failed.map(({ title }) => title)).to.deep.equal([]);
      expect(blocked.length, 'specs that could not begin, for what an earlier one left').to.equal(0);
      expect(ran.length, reasonsOf(skipped)).to.equal(specsToRun);
      expect(direct).to.equal(specsOfPlugin);
    },
  );
  return [
    count,
    ...ran.map(
      (spec) =>
        new Mocha.Test(spec.title, () => {
          if (spec.state === 'failed') throw new Error(`${spec.message}\n${logDuring(spec, log)}`);
        }),
    ),
  ];
}

function reasonsOf(skipped: readonly Spec[]): string {
  return skipped.map(({ title, message }) => `skipped: ${title}: ${message}`).join('\n');
}

function logDuring({ started, ended }: Spec, log: readonly LogLine[]): string {
  return log
    .filter(({ time }) => time >= started && time <= ended)
    .map(({ text }) => `  LOG: ${text}`)
    .join('\n');
}
