import { expect } from 'chai';
import { type Panel, toSvg } from '../../../bench/chart.ts';

const panel = (more: Partial<Panel> = {}): Panel => ({
  title: 'Overlay volumes',
  xLabel: 'layers',
  yLabel: 'ms',
  lines: [
    { name: 'ours', points: [1, 2, 4].map((x) => ({ x, y: x * 10 })) },
    { name: 'theirs', points: [{ x: 4, y: 0 }] },
  ],
  ...more,
});

const heights = (svg: string): number[] => [...svg.matchAll(/cy="([\d.]+)"/g)].map(([, y]) => Number(y));

describe('bench: the chart', () => {
  it('has a line for each, from zero up, and higher for more', () => {
    const [first = 0, second = 0, third = 0, zero = 0] = heights(toSvg('Latency', [panel()]));
    expect(first - second).to.be.closeTo(zero - first, 0.2);
    expect(second - third).to.be.closeTo(2 * (zero - first), 0.2);
  });

  it('gives every place that was measured the same room', () => {
    const places = [...toSvg('Latency', [panel()]).matchAll(/cx="([\d.]+)"/g)].map(([, x]) => Number(x));
    const [a = 0, b = 0, c = 0] = places;
    expect(b - a).to.be.closeTo(c - b, 0.2);
  });

  it('draws nothing outside of its picture, whatever the figures', () => {
    for (const y of [0, 0.0003, 9.99, 10, 12345]) {
      const svg = toSvg('Latency', [panel({ lines: [{ name: 'ours', points: [{ x: 1, y }] }] }), panel()]);
      expect(svg).not.to.match(/NaN|Infinity|undefined/);
      for (const height of heights(svg)) expect(height).to.be.within(0, 260);
    }
  });

  it('is XML, also where a name is not', () => {
    const svg = toSvg('Latency', [panel({ title: '<"A" & B>' })]);
    expect(svg).to.contain('&lt;"A" &amp; B&gt;');
    const open = svg.match(/<(?:g|text|svg|title)[ >]/g) ?? [];
    const closed = svg.match(/<\/(?:g|text|svg|title)>/g) ?? [];
    expect(open).to.have.length(closed.length);
  });
});
