// Whether a volume may be had, and on which terms. Pure.
//
//   places that no volume shows    refused whatever the rules say: the kernel's, and facts.forbidden
//   rules for its class and pod    one of them must allow all of the volume; its terms are the grant
//
// When none does, the error tells of the one that came nearest: the one with the fewest objections.
import type { PartVolume, Volume } from '../volume/volume.ts';
import type { Asked } from './asked.ts';
import { objectionsTo } from './checks.ts';
import { type Grant, type Policy, PolicyError, type Rule } from './policy.ts';
import { bindingsOf, isWithin, plainPath } from './roots.ts';
import { sizeOf } from './sizes.ts';
import { DEVICES, isDevice, locate, type Source, sourcesOf } from './sources.ts';
import { grantOf } from './terms.ts';

/** What the volume itself does not say. */
export interface Facts {
  /** How many other volumes of its pod's namespace are published on this node. */
  readonly volumesOfNamespace: number;
  /** Directories that no volume may show, by whatever names they have: kubelet's, the driver's own. */
  readonly forbidden: readonly string[];
  /** The request lets nobody write: its access mode does, or its `readonly` (default: false). */
  readonly readOnly?: boolean;
}

/** Where the kernel shows the node, and hands out its devices. */
const KERNEL = ['/proc', '/sys', DEVICES];

/** @throws PolicyError saying what was asked for, which rule came nearest, and what to do instead */
export function authorize(policy: Policy, volume: Volume, facts: Facts): Grant {
  if (volume.inline && volume.pod === undefined) {
    throw new PolicyError(
      'an inline volume of a pod that the request does not name; set podInfoOnMount: true in the CSIDriver object',
    );
  }
  for (const part of partsOf(volume)) {
    for (const source of sourcesOf(part, facts.readOnly ?? false)) {
      refuseForbidden(source, part, facts.forbidden);
    }
  }
  const examined = policy.rules
    .filter((rule) => isFor(rule, volume))
    .map((rule) => examine(rule, volume, facts));
  const [nearest] = examined.toSorted((a, b) => a.objections.length - b.objections.length);
  if (nearest === undefined) throw new PolicyError(noRuleFor(volume));
  const [objection] = nearest.objections;
  if (objection === undefined) return grantOf(nearest.rule, nearest.parts, [...KERNEL, ...facts.forbidden]);
  throw new PolicyError(
    volume.inline ? `${objection}, or have an administrator provide a PersistentVolume` : objection,
  );
}

function partsOf(volume: Volume): readonly PartVolume[] {
  return volume.kind === 'mounts' ? volume.parts.map((part) => part.volume) : [volume];
}

/** At stage nobody knows the pod of a persistent volume: publish asks again. */
function isFor(rule: Rule, { inline, pod }: Volume): boolean {
  if (rule.class !== (inline ? 'inline' : 'persistent')) return false;
  if (pod === undefined) return true;
  const { namespace, serviceAccount } = pod;
  const account = `${namespace}/${serviceAccount}`;
  return (
    (rule.namespaces?.some(({ regex }) => regex.test(namespace)) ?? true) &&
    (rule.serviceAccounts?.some(({ text, regex }) =>
      regex.test(text.includes('/') ? account : serviceAccount),
    ) ??
      true)
  );
}

interface Examined {
  readonly rule: Rule;
  readonly parts: readonly Asked[];
  readonly objections: readonly string[];
}

function examine(rule: Rule, volume: Volume, { readOnly = false, volumesOfNamespace }: Facts): Examined {
  const bindings = bindingsOf(volume.pod);
  const parts = partsOf(volume).map((part): Asked => {
    const places = sourcesOf(part, readOnly).map((source) => locate(source, rule, bindings));
    return { rule, volume: part, readOnly, bindings, places };
  });
  return {
    rule,
    parts,
    objections: [
      ...parts.flatMap(objectionsTo),
      ...togetherTooLarge(rule, parts),
      ...tooMany(rule, volume, volumesOfNamespace),
    ],
  };
}

function togetherTooLarge({ label, sizeLimit: { max } }: Rule, parts: readonly Asked[]): string[] {
  if (max === undefined || parts.length === 1) return [];
  const total = parts.reduce((sum, part) => sum + (sizeOf(part) ?? 0), 0);
  if (total <= max) return [];
  return [`sizes of ${total} bytes in all: ${label} allows ${max}; ask for less`];
}

function tooMany({ label, maxVolumes }: Rule, { pod }: Volume, others: number): string[] {
  if (maxVolumes === undefined || pod === undefined || others < maxVolumes) return [];
  return [
    `namespace ${pod.namespace} has ${others} volumes on this node: ${label} allows ${maxVolumes}; use fewer, or another node`,
  ];
}

function refuseForbidden(
  { key, path: text }: Source,
  { kind }: PartVolume,
  forbidden: readonly string[],
): void {
  const path = plainPath(text);
  if (path === undefined) {
    throw new PolicyError(
      `${key} ${JSON.stringify(text)}: is no plain absolute path; write the path that is meant`,
    );
  }
  const isDisk = isDevice(path) && (kind === 'image' || kind === 'filesystem');
  const kernels = KERNEL.find((directory) => isWithin(path, directory));
  if (kernels !== undefined && !isDisk) {
    throw new PolicyError(
      `${key} ${path}: ${kernels} is the kernel's, and never shown in a volume; name a directory of files`,
    );
  }
  const place = forbidden.find((directory) => isWithin(path, directory) || isWithin(directory, path));
  if (place === undefined) return;
  throw new PolicyError(
    `${key} ${path}: ${place} is never shown in a volume, ${isWithin(path, place) ? 'nor what lies in it' : 'as part of another directory neither'}; name a directory beside it`,
  );
}

function noRuleFor({ inline, pod }: Volume): string {
  if (!inline) return 'no rule of the policy is for this persistent volume; have an administrator add one';
  return `no rule of the policy is for inline volumes of service account ${pod?.serviceAccount} in namespace ${pod?.namespace}; have an administrator add one, or provide a PersistentVolume`;
}
