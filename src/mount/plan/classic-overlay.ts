// An overlay by mount(2), whose options must fit a page.
//
//   layers                                  way
//   not mapped nor held, several, fit       mount(2)
//   any other, where it can be had          the private namespace (plan/assembled-overlay.ts)
//   mapped, held, or a single one           put below a temporary directory of the host for the time of the call
//   others, that do not fit                 names relative to the layers' common directory
import { tmpdir } from 'node:os';
import path from 'node:path';
import { dataOf } from '../data.ts';
import { MountError } from '../errors.ts';
import { commonParent, escapeLayer, type Layer } from '../layers.ts';
import type { ParsedMount, Planner } from '../plan.ts';
import type { Slot } from '../steps/row.ts';
import { EMPTY_LAYER } from '../steps/row.ts';
import type { Step } from '../steps.ts';
import { planAssembled } from './assembled-overlay.ts';
import {
  classicData,
  classicFlags,
  classicPropagationSteps,
  DATA_BYTES,
  requireIdmap,
} from './classic-flags.ts';
import {
  claimSteps,
  cloneLayers,
  layerSlot,
  type OverlayOptions,
  readOverlay,
  writableSteps,
} from './overlay-options.ts';

export const planClassicOverlay: Planner = (mount, kernel) => {
  const overlay = readOverlay(mount.options);
  const whole = overlayData(overlay, lowerdirOf(overlay.layers));
  const fits = Buffer.byteLength(dataOf('overlay', whole)) <= DATA_BYTES;
  const mapped = mount.options.idmap !== undefined;
  const single = overlay.layers.length === 1 && overlay.upper === undefined;
  const nameless = mapped || single || mount.held;
  if (mapped) requireIdmap(kernel);
  if (fits && !nameless)
    return [...claimSteps(overlay), call(mount, overlay, overlay.layers, undefined), ...finish(overlay)];
  if (kernel.has('private-namespace')) return planAssembled(mount, kernel);
  if (mount.options.idmap?.upper) {
    const message = 'idmapupper needs a private mount namespace (the feature private-namespace)';
    throw new MountError({ reason: 'kernel-unsupported', message, rolledBack: true });
  }
  return nameless ? planTemporary(mount, overlay, single) : planRelative(mount, overlay);
};

function planTemporary(mount: ParsedMount, overlay: OverlayOptions, single: boolean): Step[] {
  const { held, options } = mount;
  const { idmap } = options;
  const mapped = idmap !== undefined;
  const upper = held && overlay.upper !== undefined ? { upper: overlay.upper } : {};
  // In the directory they are called 0, 1, ...
  const named = mapped ? overlay.layers.map((_, i) => ({ slot: layerSlot(i) })) : held ? overlay.layers : [];
  const layers = overlay.layers.map((layer, i) => (mapped || held ? { ...layer, path: String(i) } : layer));
  const empty = single ? [{ path: EMPTY_LAYER, dataOnly: false }] : [];
  const told = held ? { ...overlay, upper: undefined } : overlay;
  return [
    ...claimSteps(overlay),
    ...(mapped ? cloneLayers(overlay.layers, idmap) : []),
    { kind: 'nameLayers', layers: named, ...upper, empty: single, location: tmpdir(), as: 'temporary' },
    { ...call(mount, told, [...layers, ...empty], 'temporary'), ...upper },
    { kind: 'removeNames', directory: 'temporary' },
    ...finish(overlay),
  ];
}

function planRelative(mount: ParsedMount, overlay: OverlayOptions): Step[] {
  const common = commonParent(overlay.layers.map(({ path: layer }) => layer));
  const relative = overlay.layers.map((layer) => ({ ...layer, path: path.relative(common, layer.path) }));
  return [
    ...claimSteps(overlay),
    { kind: 'openPath', path: common, as: 'common' },
    call(mount, overlay, relative, 'common'),
    ...finish(overlay),
  ];
}

function finish(overlay: OverlayOptions): Step[] {
  return [
    ...writableSteps(overlay),
    ...classicPropagationSteps(overlay.rest),
    { kind: 'verify', mount: 'mount' },
  ];
}

function call(
  { source }: ParsedMount,
  overlay: OverlayOptions,
  layers: readonly Layer[],
  cwd: Slot | undefined,
): Step {
  const data = classicData(
    'overlay',
    overlayData(overlay, lowerdirOf(layers)),
    'use fewer layers or shorter paths',
  );
  const flags = classicFlags(overlay.rest);
  // Of those that are named relative to a directory, only we know where it is.
  const paths = [...layers.map(({ path: layer }) => layer), ...Object.values(overlay.upper ?? {})].filter(
    path.isAbsolute,
  );
  const where = cwd === undefined ? {} : { cwd };
  return {
    kind: 'mountCall',
    source: source || 'overlay',
    type: 'overlay',
    flags,
    data,
    paths,
    ...where,
    as: 'mount',
  };
}

function lowerdirOf(layers: readonly Layer[]): string {
  return layers
    .map(({ path: layer, dataOnly }, i) => `${i === 0 ? '' : dataOnly ? '::' : ':'}${escapeLayer(layer)}`)
    .join('');
}

function overlayData({ upper, rest }: OverlayOptions, lowerdir: string): string[] {
  const upperdir = upper
    ? [`upperdir=${escapeLayer(upper.upperdir)}`, `workdir=${escapeLayer(upper.workdir)}`]
    : [];
  return [`lowerdir=${lowerdir}`, ...upperdir, ...rest.data];
}
