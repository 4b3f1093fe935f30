// What a rule may object to in a volume, or in one mount of a volume of several: one function a question, in the order
// in which an author would want to hear of it. Each objection says what was asked for, what the rule allows, and what to
// do. Pure.
import { type IdMapping, parseIdMapping } from '../userns/mapping.ts';
import { hasControl } from '../volume/parse.ts';
import { type Asked, isTrusted } from './asked.ts';
import { optionObjections, untrusted } from './check-options.ts';
import type { IdRange } from './policy.ts';
import { showRoot } from './roots.ts';
import { isSized, sizeOf, sizeOption } from './sizes.ts';
import { isReadOnlyView, type Place, remoteOf } from './sources.ts';
import { anyMatches, listOf, textsOf } from './text.ts';
import { INTERFACES, isKnown } from './types.ts';

type Check = (asked: Asked) => readonly string[];

export const objectionsTo: Check = (asked) => CHECKS.flatMap((check) => check(asked));

const CHECKS: readonly Check[] = [
  checkType,
  checkFilesystem,
  checkHelper,
  checkBlock,
  checkWritable,
  checkView,
  checkSources,
  checkRemote,
  optionObjections,
  checkDataLayers,
  checkIdmap,
  checkSizeLimit,
  checkMake,
];

const when = (isSo: boolean, objection: string): readonly string[] => (isSo ? [objection] : []);

function checkType({ rule: { label, types }, volume: { type } }: Asked): readonly string[] {
  if (INTERFACES.has(type)) {
    return [`type ${type}: shows the node itself, and can never be a volume; use bind or overlay`];
  }
  const isAllowed = types.some(({ text, regex }) => text === type || (isKnown(type) && regex.test(type)));
  return when(!isAllowed, `type ${type}: ${label} allows ${textsOf(types)}; use one of these`);
}

/** What is not named cannot be held to options of its own (terms.ts): `*` does not mean it where authors are not trusted. */
function checkFilesystem({ rule, volume }: Asked): readonly string[] {
  if (volume.kind !== 'image' || volume.block) return [];
  const { filesystem } = volume;
  const { label, fsTypes } = rule;
  const isExact = filesystem === 'auto' && rule.class === 'inline';
  const isAllowed = isExact ? fsTypes.some(({ text }) => text === 'auto') : anyMatches(fsTypes, filesystem);
  const known =
    filesystem === 'auto' ? 'an image whose filesystem is not named' : `an image with ${filesystem}`;
  return when(
    !isAllowed,
    `${known}: ${label} allows ${textsOf(fsTypes)}; use one of these, and name it in fsType`,
  );
}

function checkHelper({ rule: { label, helpers }, volume }: Asked): readonly string[] {
  if (volume.kind !== 'fuse') return [];
  const { helper } = volume;
  return when(
    !helpers.has(helper),
    `helper ${helper}: ${label} allows ${listOf([...helpers.keys()])}; use one of these`,
  );
}

function checkBlock({ rule: { label, block }, volume }: Asked): readonly string[] {
  return when(
    volume.kind === 'image' && volume.block && !block,
    `volumeMode: Block: ${label} allows no block devices; use volumeMode: Filesystem`,
  );
}

function checkWritable({ rule: { label, writable }, volume }: Asked): readonly string[] {
  if (volume.kind !== 'overlay') return [];
  const { is } = volume.writable;
  return when(
    !writable.includes(is),
    `writable: ${is}: ${label} allows ${listOf(writable)}; use one of these`,
  );
}

function checkView({ rule, volume, readOnly, places }: Asked): readonly string[] {
  const { label, readOnlyViewsOnly } = rule;
  if (!readOnlyViewsOnly || places.length === 0 || isReadOnlyView(volume, readOnly)) return [];
  // Its upper layer is there to be written, by `writable` and a root for it.
  if (volume.kind === 'overlay') return [];
  const remedy =
    volume.kind === 'bind'
      ? `use type: overlay, lowerdir: ${volume.source}`
      : 'add ro to options, and no mkfs: the filesystem itself is read-only then';
  return [
    `type ${volume.type}: ${label} shows sources only by what is read-only in a container too; ${remedy}`,
  ];
}

function checkSources({ rule: { label, roots }, bindings, places }: Asked): readonly string[] {
  return places.flatMap(({ source: { key, path, writes }, root }) => {
    if (root === undefined) {
      const shown = listOf(roots.map((each) => showRoot(each, bindings)));
      return [
        `${key} ${path}: lies outside of the roots of ${label}, which are ${shown}; use a place below one of them`,
      ];
    }
    return when(
      writes && root.access === 'read-only',
      `${key} ${path}: would be written to, and ${label} has ${root.at} read-only; ${remedyForWriting(key, path)}`,
    );
  });
}

function remedyForWriting(key: Place['source']['key'], path: string): string {
  if (key !== 'source') return 'use writable: ephemeral, or a root that may be written';
  return `use type: overlay, lowerdir: ${path} for a directory, and ro in options for a filesystem`;
}

function checkRemote({ rule: { label, helpers, sources }, volume }: Asked): readonly string[] {
  const remote = remoteOf(volume);
  if (remote === undefined) return [];
  const patterns =
    volume.kind === 'fuse' ? (helpers.get(volume.helper)?.sources ?? []) : (sources.get(volume.type) ?? []);
  const isPlain = !remote.startsWith('-') && !hasControl(remote);
  return when(
    !(isPlain && anyMatches(patterns, remote)),
    `source ${JSON.stringify(remote)}: for type ${volume.type} ${label} allows ${textsOf(patterns)}; use a source that matches`,
  );
}

function checkDataLayers(asked: Asked): readonly string[] {
  const { volume, rule } = asked;
  if (volume.kind !== 'overlay' || isTrusted(asked)) return [];
  const layer = volume.lowerdir.find(({ dataOnly }) => dataOnly);
  return when(
    layer !== undefined,
    `data-only layer ${layer?.path}: whoever writes a layer above could read every file of it, and ${untrusted(rule)}; list it as an ordinary layer`,
  );
}

function checkIdmap({ rule: { label, idmap }, volume: { idmap: wanted } }: Asked): readonly string[] {
  if (wanted.is === 'none') return [];
  const { kinds } = idmap;
  if (!kinds.includes(wanted.is)) {
    const key = { explicit: 'uidmap and gidmap', owner: 'owner', pod: 'idmap: pod' }[wanted.is];
    return [`${key}: ${label} allows of ID mappings ${listOf(kinds)}; remove it`];
  }
  if (wanted.is === 'pod') return [];
  const sides: readonly Side[] =
    wanted.is === 'explicit' ? sidesOf(wanted) : [wanted.uid, wanted.gid ?? wanted.uid].flatMap(sidesOfOwner);
  return sides.flatMap(({ field, side, ids }) => {
    const allowed = idmap[side];
    const outside = allowed && ids.find((range) => !covers(allowed, range));
    return when(
      outside !== undefined,
      `${field}: ids ${outside && showRange(outside)} ${SIDES[side]}: ${label} allows ${allowed?.map(showRange).join(', ')}; map ids of these`,
    );
  });
}

const SIDES = { onDisk: 'on disk', shown: 'as shown' } as const;

interface Side {
  readonly field: string;
  readonly side: keyof typeof SIDES;
  readonly ids: readonly IdRange[];
}

function sidesOf({ uidmap, gidmap }: { readonly uidmap: string; readonly gidmap: string }): Side[] {
  return Object.entries({ uidmap, gidmap }).flatMap(([field, text]): Side[] => {
    const mapping: IdMapping = parseIdMapping(text, field);
    return [
      { field, side: 'onDisk', ids: mapping.map(({ container, size }) => rangeOf(container, size)) },
      { field, side: 'shown', ids: mapping.map(({ host, size }) => rangeOf(host, size)) },
    ];
  });
}

/** It is shown as the owner of the root, and is what that owner is on disk. */
function sidesOfOwner(id: number): Side[] {
  const ids = [rangeOf(id, 1)];
  return [
    { field: 'owner', side: 'onDisk', ids },
    { field: 'owner', side: 'shown', ids },
  ];
}

const rangeOf = (from: number, size: number): IdRange => ({ from, to: from + size - 1 });

/** Whether all of the range is allowed, by one range or by several that go on where another ends. */
function covers(allowed: readonly IdRange[], { from, to }: IdRange): boolean {
  let next = from;
  for (const range of allowed.toSorted((a, b) => a.from - b.from)) {
    if (range.from <= next && next <= range.to) next = range.to + 1;
  }
  return next > to;
}

const showRange = ({ from, to }: IdRange): string => (from === to ? `${from}` : `${from}-${to}`);

function checkSizeLimit(asked: Asked): readonly string[] {
  const { label, sizeLimit } = asked.rule;
  if (sizeLimit.max === undefined) return [];
  const option = sizeOption(asked.volume);
  if (option !== undefined && option.bytes === undefined) {
    return [
      `option size=${option.text}: ${label} limits sizes to ${sizeLimit.max} bytes; use sizeLimit, or size in bytes`,
    ];
  }
  const size = sizeOf(asked);
  if (size === undefined) {
    const is = isSized(asked.volume);
    return when(is, `no sizeLimit: ${label} limits sizes to ${sizeLimit.max} bytes; add sizeLimit`);
  }
  return when(
    size > sizeLimit.max,
    `a size of ${size} bytes: ${label} allows ${sizeLimit.max}; ask for less`,
  );
}

function checkMake({ rule: { label, mkfs, size }, volume }: Asked): readonly string[] {
  if (volume.kind !== 'image' || volume.make === undefined) return [];
  if (!mkfs) return [`mkfs: ${label} makes no images; use one that is there`];
  const { bytes } = volume.make;
  const tooLarge = size.max !== undefined && bytes > size.max;
  return when(tooLarge, `size: ${bytes} bytes for a new image: ${label} allows ${size.max}; ask for less`);
}
