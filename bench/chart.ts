// A small writer of line charts as SVG: panels side by side, each of lines over one horizontal axis, from zero up. Pure.

export interface Line {
  readonly name: string;
  readonly points: readonly Point[];
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Panel {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly lines: readonly Line[];
}

const PANEL = { width: 330, height: 260 } as const;
const MARGIN = { top: 34, right: 14, bottom: 74, left: 52 } as const;
const PLOT = {
  width: PANEL.width - MARGIN.left - MARGIN.right,
  height: PANEL.height - MARGIN.top - MARGIN.bottom,
} as const;
/** Told apart also by who sees no colours: each has a dash of its own. */
const STROKES = [
  { colour: '#1f5fbf', dash: '' },
  { colour: '#c2410c', dash: '6 3' },
  { colour: '#3f7d20', dash: '2 3' },
] as const;
/** What a name in the legend has beside it, and about what a letter takes. */
const KEY_WIDTH = 34;
const LETTER_WIDTH = 6;
const Y_STEPS = 4;
/** Times a power of ten. */
const TOPS = [1, 1.2, 1.6, 2, 2.4, 3, 4, 6, 8, 10];

export function toSvg(title: string, panels: readonly Panel[]): string {
  const width = PANEL.width * panels.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${PANEL.height}" font-family="sans-serif" font-size="11" fill="#222">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${PANEL.height}" fill="#fff"/>`,
    ...panels.map((panel, i) => `<g transform="translate(${i * PANEL.width} 0)">\n${panelOf(panel)}\n</g>`),
    '</svg>\n',
  ].join('\n');
}

function panelOf({ title, xLabel, yLabel, lines }: Panel): string {
  const xs = [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
  const top = roundUp(Math.max(0, ...lines.flatMap(({ points }) => points.map(({ y }) => y))));
  // One place for each x that was measured, whatever lies between: 1, 2, 4, ... would else be a smear on the left.
  const across = (x: number) => MARGIN.left + (PLOT.width * xs.indexOf(x)) / Math.max(1, xs.length - 1);
  const up = (y: number) => MARGIN.top + PLOT.height * (1 - y / top);
  const bottom = MARGIN.top + PLOT.height;
  const grid = Array.from({ length: Y_STEPS + 1 }, (_, i) => (top * i) / Y_STEPS).flatMap((y) => [
    `<path d="M${MARGIN.left} ${n(up(y))}H${PANEL.width - MARGIN.right}" stroke="#ddd"/>`,
    text(MARGIN.left - 6, up(y) + 4, tidy(y), 'end'),
  ]);
  return [
    text(MARGIN.left, 18, title, 'start', ' font-weight="bold"'),
    ...grid,
    ...xs.map((x) => text(across(x), bottom + 15, String(x), 'middle')),
    text(MARGIN.left + PLOT.width / 2, bottom + 31, xLabel, 'middle'),
    `<text transform="translate(14 ${MARGIN.top + PLOT.height / 2}) rotate(-90)" text-anchor="middle">${escaped(yLabel)}</text>`,
    ...lines.map(({ points }, i) => curve(points, i, across, up)),
    ...lines.map((_, i) => legend(lines, i)),
  ].join('\n');
}

function curve(
  points: readonly Point[],
  index: number,
  across: (x: number) => number,
  up: (y: number) => number,
): string {
  const { colour, dash } = strokeOf(index);
  const places = points.map(({ x, y }) => `${n(across(x))},${n(up(y))}`);
  const dots = places.map((place) => {
    const [cx, cy] = place.split(',');
    return `<circle cx="${cx}" cy="${cy}" r="2.5" fill="${colour}"/>`;
  });
  const line = `<polyline points="${places.join(' ')}" fill="none" stroke="${colour}" stroke-width="1.5" stroke-dasharray="${dash}"/>`;
  return [line, ...dots].join('\n');
}

function legend(lines: readonly Line[], index: number): string {
  const { colour, dash } = strokeOf(index);
  const before = lines.slice(0, index).map(({ name }) => KEY_WIDTH + name.length * LETTER_WIDTH);
  const x = MARGIN.left + before.reduce((sum, width) => sum + width, 0);
  const y = PANEL.height - 18;
  const key = `<path d="M${n(x)} ${y}h18" stroke="${colour}" stroke-width="1.5" stroke-dasharray="${dash}"/>`;
  return key + text(x + 22, y + 4, lines[index]?.name ?? '', 'start');
}

const strokeOf = (index: number) => STROKES[index % STROKES.length] ?? STROKES[0];

function text(x: number, y: number, content: string, anchor: string, more = ''): string {
  return `<text x="${n(x)}" y="${n(y)}" text-anchor="${anchor}"${more}>${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** To what is divided by the steps without a rest that matters. */
function roundUp(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return (TOPS.find((step) => step * power >= value) ?? 10) * power;
}

const n = (value: number): string => String(Math.round(value * 10) / 10);
const tidy = (value: number): string => String(Number(value.toPrecision(3)));
