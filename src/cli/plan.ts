// `plan`: what `mount` would do, step by step, without doing it. Needs no privileges.
import { readFileSync } from 'node:fs';
import { messageOf } from '../mount/errors.ts';
import { type Kernel, kernelHere } from '../mount/kernel.ts';
import type { Mount } from '../mount/mount.ts';
import { describeStep, plan } from '../mount/plan.ts';
import { authorize } from '../policy/authorize.ts';
import { DEFAULT_POLICY } from '../policy/default.ts';
import { readPolicyFile } from '../policy/file.ts';
import { readVolumeContext } from '../volume/context.ts';
import {
  isNested,
  layerWanted,
  type Publication,
  type PublishPlan,
  planMounts,
  planPublish,
} from '../volume/publish.ts';
import { planStage } from '../volume/stage.ts';
import type { Volume } from '../volume/volume.ts';
import type { Making } from '../volume/whole.ts';
import { type KernelFlags, kernelOptionsOf, type MountFlags, mountOf } from './options.ts';

export interface PlanFlags extends MountFlags, KernelFlags {
  readonly volumeContext?: string;
  /** The file that says whether the volume may be had; without one the built-in policy does. */
  readonly policy?: string;
  readonly json?: boolean;
}

export function planCommand(source: string | undefined, target: string | undefined, flags: PlanFlags): void {
  const kernel = kernelHere({ ...kernelOptionsOf(flags), untried: 'available' });
  const parts =
    flags.volumeContext === undefined
      ? [onePart(source, target, flags)]
      : volumeParts(flags.volumeContext, flags.policy);
  if (flags.json) {
    console.log(
      JSON.stringify(parts.map(({ title, mounts }) => ({ title, steps: mounts.flatMap(stepsOn(kernel)) }))),
    );
    return;
  }
  for (const { title, mounts } of parts) {
    const steps = mounts.flatMap(stepsOn(kernel)).map((step) => `  ${describeStep(step)}`);
    console.log([title, ...steps].join('\n'));
  }
}

const stepsOn = (kernel: Kernel) => (mount: Mount) => plan(mount, kernel);

interface Part {
  readonly title: string;
  readonly mounts: readonly Mount[];
}

function onePart(source: string | undefined, target: string | undefined, flags: PlanFlags): Part {
  if (source === undefined || target === undefined) {
    throw new Error('give SOURCE and TARGET, or --volume-context FILE');
  }
  const mount = mountOf(source, flags);
  return { title: `${mount.type} at ${target}`, mounts: [mount] };
}

/** What kubelet adds for an inline volume, where the file does not say it. */
const SOME_POD = {
  'csi.storage.k8s.io/pod.name': 'pod',
  'csi.storage.k8s.io/pod.uid': 'pod',
  'csi.storage.k8s.io/pod.namespace': 'default',
  'csi.storage.k8s.io/serviceAccount.name': 'default',
};

/** Where it is on nearly every node. */
const KUBELET_DIR = '/var/lib/kubelet';

/** The file holds volumeAttributes as a JSON object. */
function volumeParts(file: string, policyFile: string | undefined): Part[] {
  const attributes = readAttributes(file);
  const volume = readVolumeContext(
    attributes['csi.storage.k8s.io/ephemeral'] === 'true' ? { ...SOME_POD, ...attributes } : attributes,
  );
  const policy = policyFile === undefined ? DEFAULT_POLICY : readPolicyFile(policyFile).policy;
  const terms = authorize(policy, volume, { volumesOfNamespace: 0, forbidden: [KUBELET_DIR] });
  const stagingPath = volume.inline ? undefined : 'STAGING';
  const staged = planStage(volume, { terms, group: undefined, readOnly: false }).mounts;
  // As on a node without NRI.
  const publication: Publication = {
    ...{ terms, stagingPath, readonly: false, readOnlyMode: false, group: undefined, mayMap: true },
    cover: isNested(volume) ? 'nested' : undefined,
  };
  const wanted = layerWanted(volume, publication);
  const layer = wanted && { upperdir: 'LAYER/upper', workdir: 'LAYER/work' };
  const plan = planPublish(volume, publication, layer);
  return [
    ...(staged.length === 0 ? [] : [{ title: 'stage at STAGING', mounts: staged }]),
    ...publishedParts(volume, plan, { publication, layer }),
  ];
}

function publishedParts(
  volume: Volume,
  plan: PublishPlan,
  { publication, layer }: Pick<Making, 'layer'> & { readonly publication: Publication },
): Part[] {
  switch (plan.is) {
    case 'mounts':
      return [{ title: 'publish at TARGET', mounts: plan.mounts }];
    case 'device':
      return [{ title: `publish at TARGET: a loop device of ${plan.image}`, mounts: [] }];
    case 'nested':
      return [
        { title: 'publish at TARGET', mounts: [plan.cover] },
        {
          title: `later, with the ids of the pod, at TARGET/${plan.nestedDir}`,
          mounts: planMounts(volume, publication, { layer }),
        },
      ];
    case 'placeholder':
      return [
        { title: 'publish at TARGET: a placeholder', mounts: [] },
        {
          title: 'later, with the ids of the pod, at TARGET',
          mounts: planMounts(volume, publication, { layer }),
        },
      ];
  }
}

/** @throws Error naming the file, when it is not what `volumeAttributes` are: an object of strings */
function readAttributes(file: string): Record<string, string> {
  const wrong = (why: string) => new Error(`${file}: ${why}; write {"type": "bind", "source": "/srv/data"}`);
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw wrong(messageOf(error));
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('is no JSON object');
  const odd = Object.entries(value).find(([, text]) => typeof text !== 'string');
  if (odd) throw wrong(`the value of ${odd[0]} is no string`);
  return value as Record<string, string>;
}
