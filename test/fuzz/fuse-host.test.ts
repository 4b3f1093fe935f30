// fuse-host's own socket: damaged bytes (bytes.ts), and damaged requests to every method, some at a time. Beside them a helper
// serves a volume from the beginning to the end, which nothing of that may cut: not its process, nor its mount.
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import {
  DeathsRequest,
  FuseHostService,
  HelloRequest,
  type Helper,
  ListRequest,
  OutputRequest,
  StartRequest,
  StartResponse,
  StopRequest,
} from '../../src/rpc/generated/fusehost.ts';
import { startFuseHost, startSpec, type TestFuseHost } from '../e2e/fuse-host.ts';
import { mountsBelow } from '../e2e/kernel.ts';
import { squashfs } from '../kernel/mount/helpers.ts';
import { cases } from '../support/cases.ts';
import { eventually, mountPlace, type TemporaryDirectory, writeFiles } from '../support/fixtures.ts';
import { descendants } from '../support/leaks.ts';
import { needFile, needRoot, needTool } from '../support/need.ts';
import { type Fuzzed, harmNobody } from './bytes.ts';
import {
  type Answer,
  damagedRequest,
  NEVER,
  type RawClient,
  rawClient,
  requestsTo,
  type Sent,
  TIMEOUT_MS,
  type Valid,
} from './requests.ts';

const policyFor = (data: string): string => `version: 1
rules:
  - class: persistent
    types: [bind, tmpfs, fuse.bindfs, fuse.squashfuse, fuse.failing]
    roots: [{ path: ${data}, access: read-write }]
    idmap: { kinds: [explicit, owner, pod] }
    helpers:
      bindfs: {}
      squashfuse: { user: '61001:61001' }
      failing: { program: ${data}/failing }
`;

/** `tree` has the volume of several mounts, whose root is a directory here. */
const PODS = ['kept', 'other', 'damaged', 'tree'];

/** What waits for deaths does so for as long as it is told to. */
const DEATHS_MS = 200;

describe('damaged requests to fuse-host', () => {
  let place: TemporaryDirectory;
  let host: TestFuseHost;
  let raw: RawClient;
  let kept: Helper;

  before(async function () {
    needRoot(this, 'it mounts');
    needFile(this, '/dev/fuse', 'it mounts by it');
    for (const tool of ['bindfs', 'squashfuse', 'mksquashfs'])
      needTool(this, tool, 'it is mounted with here');
    place = mountPlace();
    squashfs(place);
    writeFiles(place.path, {
      'data/a/file': 'a',
      'data/failing': { content: '#!/bin/sh\necho cannot find the server >&2; exit 3\n', mode: 0o755 },
      'policy.yaml': policyFor(place.at('data')),
    });
    for (const pod of PODS) mkdirSync(dirname(targetOf(pod)), { recursive: true });
    host = await startFuseHost(place.path, ['--policy', place.at('policy.yaml')]);
    raw = rawClient(FuseHostService, host.socket);
    kept = await host.client.start(startOf('kept'), TIMEOUT_MS);
    // Its engine, which unmounts, is begun with the first call that needs it; and this connection.
    await host.client.start(startOf('other'), TIMEOUT_MS);
    await host.client.stop(targetOf('other'), { timeoutMs: TIMEOUT_MS, unmount: true });
    await raw.send({ method: 'list', bytes: Buffer.alloc(0) });
  });
  after(async () => {
    raw?.[Symbol.dispose]();
    if (kept) await host.client.stop(kept.target, { timeoutMs: TIMEOUT_MS, unmount: true });
    await host?.[Symbol.asyncDispose]();
    place?.[Symbol.dispose]();
  });

  const targetOf = (pod: string): string =>
    place.at('kubelet/pods', pod, 'volumes/kubernetes.io~csi/data/mount');
  function startOf(pod: string, spec: Partial<StartRequest> = {}): StartRequest {
    const volumeContext = { type: 'fuse.bindfs', source: place.at('data/a') };
    return { ...startSpec({ target: targetOf(pod), volumeContext }), protocol: 1, ...spec };
  }

  function fuzzed(): Fuzzed {
    const descriptors = () => readdirSync(`/proc/${host.child.pid}/fd`).length;
    return {
      socket: host.socket,
      snapshot() {
        const before = descriptors();
        return async () => {
          expect(await host.client.list()).to.deep.equal([kept]);
          expect(readFileSync(join(kept.target, 'file'), 'utf8')).to.equal('a');
          expect(mountsBelow(place.at('kubelet')).map(({ target }) => target)).to.deep.equal([kept.target]);
          expect(host.said.filter((line) => line.includes('"level":"error"'))).to.deep.equal([]);
          await eventually('no process is left', () => helpersOf(host).join() === kept.pids.join());
          await eventually('the descriptors are as before', () => descriptors() <= before);
        };
      },
    };
  }

  harmNobody(fuzzed, {
    async speak(socket) {
      using client = rawClient(FuseHostService, socket);
      for (const { method, message, encode } of requests()) {
        if (method !== 'start') await client.send({ method, bytes: encode(message) });
      }
    },
    paths: Object.values(FuseHostService).map(({ path }) => path),
    bodies: [Buffer.alloc(0), Buffer.from(OutputRequest.encode({ target: '/x' }).finish())],
  });

  it('of every method are refused or served, and nothing is left', async function () {
    this.timeout(0);
    const expectUnharmed = fuzzed().snapshot();
    const one = fc
      .constantFrom(...requests())
      .chain(damagedRequest)
      .filter((sent) => !isEndOf(kept.target, sent, place.at('kubelet')));
    await fc.assert(
      fc.asyncProperty(fc.array(one, { minLength: 1, maxLength: 4 }), async (sent) => {
        const answers = await Promise.all(sent.map(send));
        for (const [i, answer] of answers.entries()) expectForeseen(sent[i], answer);
        for (const [i, each] of sent.entries()) if (isStarted(each, answers[i])) await takeBack(each);
      }),
      { numRuns: cases(10) },
    );
    await expectUnharmed();
  });

  const send = (sent: Sent): Promise<Answer> =>
    raw.send(sent, sent.method === 'deaths' ? DEATHS_MS : TIMEOUT_MS);

  async function takeBack({ bytes }: Sent): Promise<void> {
    const { target } = StartRequest.decode(bytes);
    await host.client.stop(target, { timeoutMs: TIMEOUT_MS, unmount: true });
  }

  /** Valid requests of every method. */
  function requests(): Valid[] {
    const target = targetOf('damaged');
    const context = (more: Record<string, string>) => ({ volumeContext: { type: 'fuse.bindfs', ...more } });
    const source = place.at('data/a');
    const ids = '0:100000:65536';
    const parts = [{ type: 'tmpfs' }, { type: 'fuse.bindfs', target: 'x', source }];
    const starts: Partial<StartRequest>[] = [
      { mountFlags: ['noatime', 'nodev'], readOnly: true },
      context({ source, uidmap: ids, gidmap: ids }),
      { ...context({ source, idmap: 'pod' }), podUidmap: ids, podGidmap: ids },
      { volumeContext: { type: 'fuse.squashfuse', source: place.at('image'), options: 'ro' } },
      { volumeContext: { type: 'fuse.failing', source } },
    ];
    const tree = { volumeContext: { mounts: JSON.stringify(parts) }, part: 1 };
    const protocols = { oldest: 1, newest: 1 };
    return [
      ...requestsTo('hello', HelloRequest, [{ version: '0.1.0', protocols }]),
      ...requestsTo('start', StartRequest, [
        ...starts.map((spec) => startOf('damaged', spec)),
        startOf('tree', tree),
      ]),
      ...requestsTo('stop', StopRequest, [
        { target, unmount: true },
        { target, unmount: false },
      ]),
      ...requestsTo('list', ListRequest, [{}]),
      ...requestsTo('output', OutputRequest, [{ target }]),
      ...requestsTo('deaths', DeathsRequest, [{ after: 0n, patienceMs: 1 }]),
    ];
  }
});

function expectForeseen(sent: Sent | undefined, { code, message, answer }: Answer): void {
  if (sent?.method === 'deaths' && code === 'DEADLINE_EXCEEDED') return;
  expect(code, `${sent?.method}: ${message}`).to.not.be.oneOf(NEVER);
  if (sent?.method !== 'start' || code !== 'OK') return;
  const { outcome } = StartResponse.decode(answer);
  if (outcome?.$case !== 'failure') return;
  expect(outcome.value.reason, outcome.value.message).to.not.equal('unexpected');
  expect(outcome.value.rolledBack, outcome.value.message).to.equal(true);
}

const isStarted = ({ method }: Sent, answer: Answer | undefined): boolean =>
  method === 'start' &&
  answer?.code === 'OK' &&
  StartResponse.decode(answer.answer).outcome?.$case === 'started';

/** One that says so, in which nothing is damaged: the end of what is at and below a directory that the volume is in. */
function isEndOf(target: string, { method, bytes }: Sent, kubeletDir: string): boolean {
  if (method !== 'stop') return false;
  try {
    const asked = StopRequest.decode(bytes).target.replace(/\/$/, '');
    return asked.startsWith(`${kubeletDir}/`) && `${target}/`.startsWith(`${asked}/`);
  } catch {
    return false;
  }
}

/** What runs below it, its own processes aside. */
const helpersOf = ({ child }: TestFuseHost): number[] =>
  descendants(child.pid ?? 0)
    .filter(({ command }) => !command.startsWith(process.execPath))
    .map(({ pid }) => pid);
