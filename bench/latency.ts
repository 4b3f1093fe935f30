// What publish and unpublish take against the number of layers, of other mounts on the node and of callers: for the chart.
import { mkdirSync } from 'node:fs';
import { mountCommand } from '../test/support/fixtures.ts';
import type { Line, Panel, Point } from './chart.ts';
import { crowded } from './crowd.ts';
import { type Driver, startOurs, startPeer } from './drivers.ts';
import { type LineProgram, startLineProgram } from './lines.ts';
import type { Session } from './session.ts';
import { median } from './statistics.ts';

const LAYERS = [2, 5, 10, 20, 50, 100];
const MOUNTS = [0, 50, 500, 1_000, 2_000, 5_000];
const CALLERS = [1, 2, 4, 8, 16, 32];
/** In turns with the other lines. */
const BLOCKS = 4;
/** Of all callers in a block. */
const CYCLES = 6;
/** Short, or mount(8) of the peer could not be told of 100 layers: its options are a page. In our mount namespace alone. */
const SHORT = '/mnt';
const Y_LABEL = 'ms, median';
const MAPPING = '0:100000:65536';

/** A line of a panel. */
interface Contender {
  readonly name: string;
  readonly driver: Driver;
  /** The volume context, at this place of the panel. */
  readonly context: (x: number) => string;
}

interface Plan {
  readonly xs: readonly number[];
  readonly contenders: readonly Contender[];
  readonly callersAt?: (x: number) => number;
  /** What the node is like meanwhile. */
  readonly around?: (x: number) => Promise<AsyncDisposable>;
}

export async function latency(session: Session): Promise<Panel[]> {
  await using callers = startLineProgram(session.programs.csiCallers);
  await using ours = await startOurs(session, 'latency');
  await using peer = await startPeer(session, 'latency-peer');
  mountCommand('-t', 'tmpfs', '-o', 'mode=755', 'bench', SHORT);
  for (const name of layerNames(Math.max(...LAYERS))) mkdirSync(name);
  const source = session.directory('latency-source');
  const bind = [ours, peer].map((driver) => ({
    ...{ name: driver.name, driver },
    context: () => driver.bindContext(source),
  }));
  const overlay = [
    { name: ours.name, driver: ours, context: overlayContext() },
    { name: peer.name, driver: peer, context: overlayContext() },
    {
      ...{ name: 'ID-mapped', driver: ours },
      context: overlayContext({ uidmap: MAPPING, gidmap: MAPPING }),
    },
  ];
  const linesOf = (plan: Plan) => measured(callers, plan);
  return [
    {
      ...{ title: 'Overlay volumes', xLabel: 'layers', yLabel: Y_LABEL },
      lines: await linesOf({ xs: LAYERS, contenders: overlay }),
    },
    {
      ...{ title: 'Bind volumes on a node that has mounts', xLabel: 'other mounts', yLabel: Y_LABEL },
      lines: await linesOf({
        ...{ xs: MOUNTS, contenders: bind },
        around: (count) => crowded(session, ours.kubeletDir, count),
      }),
    },
    {
      ...{ title: 'Bind volumes at the same time', xLabel: 'callers', yLabel: Y_LABEL },
      lines: await linesOf({ xs: CALLERS, contenders: bind, callersAt: (x) => x }),
    },
  ];
}

async function measured(
  callers: LineProgram,
  { xs, contenders, callersAt = () => 1, around }: Plan,
): Promise<Line[]> {
  const lines = contenders.map(({ name }) => ({ name, points: [] as Point[] }));
  for (const x of xs) {
    await using _ = await around?.(x);
    const count = callersAt(x);
    const times = Math.max(1, Math.round(CYCLES / count));
    const took = contenders.map(() => [] as number[]);
    // One more, and the first is not counted.
    for (let block = 0; block <= BLOCKS; block++) {
      for (const [at, { driver, context }] of contenders.entries()) {
        const { socket, kubeletDir } = driver;
        const volume = [context(x), kubeletDir];
        await callers.ask('stage', socket, count, ...volume);
        const values = await callers.ask('cycle', socket, count, times, ...volume);
        await callers.ask('unstage', socket, count, ...volume);
        if (block > 0) took[at]?.push(...values);
      }
    }
    for (const [at, values] of took.entries()) lines[at]?.points.push({ x, y: median(values) });
  }
  return lines;
}

const layerNames = (count: number): string[] => Array.from({ length: count }, (_, i) => `${SHORT}/${i}`);

const overlayContext =
  (more: Readonly<Record<string, string>> = {}) =>
  (layers: number): string =>
    JSON.stringify({ type: 'overlay', lowerdir: layerNames(layers).join(':'), ...more });
