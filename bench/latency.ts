// What publish and unpublish take against the number of layers, of other mounts on the node and of callers: for the chart.
import { mkdirSync } from 'node:fs';
import { mountCommand } from '../test/support/fixtures.ts';
import type { Line, Panel } from './chart.ts';
import { crowded } from './crowd.ts';
import { type Driver, startOurs, startPeer } from './drivers.ts';
import { type LineProgram, startLineProgram } from './lines.ts';
import type { Session } from './session.ts';
import { median } from './statistics.ts';

const LAYERS = [2, 5, 10, 20, 50, 100];
const MOUNTS = [0, 50, 500, 1_000, 2_000, 5_000];
const CALLERS = [1, 2, 4, 8, 16, 32];
const CYCLES = 15;
/** Short, or mount(8) of the peer could not be told of 100 layers: its options are a page. In our mount namespace alone. */
const SHORT = '/mnt';
const Y_LABEL = 'ms, median';

export async function latency(session: Session): Promise<Panel[]> {
  await using callers = startLineProgram(session.programs.csiCallers);
  await using ours = await startOurs(session, 'latency');
  await using peer = await startPeer(session, 'latency-peer');
  const drivers = [ours, peer];
  mountCommand('-t', 'tmpfs', '-o', 'mode=755', 'bench', SHORT);
  for (const name of layerNames(Math.max(...LAYERS))) mkdirSync(name);
  const source = session.directory('latency-source');
  const volumes = Math.max(...CALLERS);
  const bind = ({ bindContext }: Driver) => bindContext(source);
  const one = { callers, drivers, volumes: 1 };
  return [
    {
      title: 'Overlay volumes',
      xLabel: 'layers',
      yLabel: Y_LABEL,
      lines: await linesOf({ ...one, xs: LAYERS, contextOf: (_, layers) => overlayContext(layers) }),
    },
    {
      title: 'Bind volumes on a node that has mounts',
      xLabel: 'other mounts',
      yLabel: Y_LABEL,
      lines: await linesOf({
        ...{ ...one, xs: MOUNTS, contextOf: bind },
        around: (count) => crowded(session, ours.kubeletDir, count),
      }),
    },
    {
      title: 'Bind volumes at the same time',
      xLabel: 'callers',
      yLabel: Y_LABEL,
      lines: await linesOf({ callers, drivers, volumes, xs: CALLERS, contextOf: bind, callersOf: (x) => x }),
    },
  ];
}

interface Series {
  readonly callers: LineProgram;
  readonly drivers: readonly Driver[];
  readonly volumes: number;
  readonly xs: readonly number[];
  readonly contextOf: (driver: Driver, x: number) => string;
  readonly callersOf?: (x: number) => number;
  readonly around?: (x: number) => Promise<AsyncDisposable>;
}

async function linesOf(series: Series): Promise<Line[]> {
  const { callers, drivers, volumes, xs, contextOf, callersOf = () => 1, around } = series;
  const lines = drivers.map(({ name }) => ({ name, points: [] as { x: number; y: number }[] }));
  for (const x of xs) {
    await using _ = await around?.(x);
    for (const [at, driver] of drivers.entries()) {
      const { socket, kubeletDir } = driver;
      const context = contextOf(driver, x);
      const count = callersOf(x);
      const times = Math.max(3, Math.round(CYCLES / count));
      await callers.ask('stage', socket, volumes, context, kubeletDir);
      await callers.ask('cycle', socket, count, 2, context, kubeletDir);
      const took = await callers.ask('cycle', socket, count, times, context, kubeletDir);
      await callers.ask('unstage', socket, volumes, context, kubeletDir);
      lines[at]?.points.push({ x, y: median(took) });
    }
  }
  return lines;
}

const layerNames = (count: number): string[] => Array.from({ length: count }, (_, i) => `${SHORT}/${i}`);

const overlayContext = (layers: number): string =>
  JSON.stringify({ type: 'overlay', lowerdir: layerNames(layers).join(':') });
