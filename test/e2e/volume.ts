// A volume of a node as kubelet handles one: its paths, its requests, and the way back out at the end of a test.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { CallOptions } from '../../src/rpc/client.ts';
import {
  VolumeCapability_AccessMode_Mode as Mode,
  type NodeExpandVolumeResponse,
  type NodeGetVolumeStatsRequest,
  type NodeGetVolumeStatsResponse,
  type NodePublishVolumeRequest,
  type NodeStageVolumeRequest,
  type NodeUnpublishVolumeRequest,
  type NodeUnstageVolumeRequest,
  VolumeCapability,
} from '../../src/rpc/generated/csi.ts';
import { unmountCommand } from '../support/fixtures.ts';
import { mountsAt, mountsBelow } from './kernel.ts';
import { type Answer, retried, type TestNode } from './node.ts';

export type AccessMode = Exclude<keyof typeof Mode, 'UNKNOWN'>;
export type Context = Readonly<Record<string, string>>;

export interface VolumeSpec {
  readonly context: Context;
  /** Written into a pod rather than a PersistentVolume: there is no stage. */
  readonly inline?: boolean;
  /** Of the pod of an inline one (default: `default`). */
  readonly namespace?: string;
}

export interface Volume extends AsyncDisposable {
  readonly id: string;
  readonly context: Context;
  readonly stagingPath: string;
  /** Where a pod has the volume. */
  targetOf(pod: string): string;
  /** The target of the first pod. */
  readonly target: string;
  stage(changes?: Partial<NodeStageVolumeRequest>, options?: CallOptions): Promise<Answer>;
  publish(changes?: Partial<NodePublishVolumeRequest>, options?: CallOptions): Promise<Answer>;
  stats(
    volumePath: string,
    changes?: Partial<NodeGetVolumeStatsRequest>,
  ): Promise<Answer<NodeGetVolumeStatsResponse>>;
  expand(
    volumePath: string,
    range: { requiredBytes: bigint; limitBytes?: bigint },
  ): Promise<Answer<NodeExpandVolumeResponse>>;
  unpublish(changes?: Partial<NodeUnpublishVolumeRequest>): Promise<Answer>;
  unstage(changes?: Partial<NodeUnstageVolumeRequest>): Promise<Answer>;
}

export function capability(
  mode: AccessMode = 'SINGLE_NODE_WRITER',
  mountFlags: readonly string[] = [],
): VolumeCapability {
  return VolumeCapability.create({
    accessType: { $case: 'mount', value: { mountFlags: [...mountFlags] } },
    accessMode: { mode: Mode[mode] },
  });
}

export function blockCapability(mode: AccessMode = 'SINGLE_NODE_WRITER'): VolumeCapability {
  return VolumeCapability.create({
    accessType: { $case: 'block', value: {} },
    accessMode: { mode: Mode[mode] },
  });
}

/** With the fsGroup of a pod. */
export function groupCapability(group: string, mode: AccessMode = 'SINGLE_NODE_WRITER'): VolumeCapability {
  return VolumeCapability.create({
    accessType: { $case: 'mount', value: { volumeMountGroup: group } },
    accessMode: { mode: Mode[mode] },
  });
}

let count = 0;

/**
 * At the end of its block it is unpublished and unstaged, where the test has not done so, and whatever it then
 * leaves behind (mount, target, record) is an error.
 */
export function volumeOn(
  node: TestNode,
  { context, inline = false, namespace = 'default' }: VolumeSpec,
): Volume {
  const id = `volume-${++count}`;
  const digest = createHash('sha256').update(id).digest('hex');
  const stagingPath = `${node.kubeletDir}/plugins/kubernetes.io/csi/idmap.csi.dev/${digest}/globalmount`;
  const targetOf = (pod: string) =>
    `${node.kubeletDir}/pods/${pod}-of-${id}/volumes/kubernetes.io~csi/data/mount`;
  const all: Context = inline
    ? { ...context, 'csi.storage.k8s.io/ephemeral': 'true', ...podInfo(id, namespace) }
    : context;
  const targets = new Set<string>();

  const volume: Volume = {
    id,
    context: all,
    stagingPath,
    targetOf,
    target: targetOf('pod'),
    stage(changes, options) {
      mkdirSync(stagingPath, { recursive: true });
      const request = {
        volumeId: id,
        publishContext: {},
        stagingTargetPath: stagingPath,
        volumeCapability: capability(),
        secrets: {},
        volumeContext: all,
        ...changes,
      };
      return node.ask((rpc) => rpc.nodeStageVolume(request, options));
    },
    async publish(changes, options) {
      const request = {
        volumeId: id,
        publishContext: {},
        stagingTargetPath: inline ? '' : stagingPath,
        targetPath: volume.target,
        volumeCapability: capability(),
        readonly: false,
        secrets: {},
        volumeContext: all,
        ...changes,
      };
      // Kubelet makes the parent, the plugin the target.
      mkdirSync(dirname(volume.target), { recursive: true });
      if (request.targetPath.startsWith(node.kubeletDir)) {
        mkdirSync(dirname(request.targetPath), { recursive: true });
      }
      const answer = await node.ask((rpc) => rpc.nodePublishVolume(request, options));
      if (answer.code === 'OK') targets.add(request.targetPath);
      return answer;
    },
    stats: (volumePath, changes) =>
      node.ask((rpc) =>
        rpc.nodeGetVolumeStats({ volumeId: id, volumePath, stagingTargetPath: '', ...changes }),
      ),
    expand: (volumePath, { requiredBytes, limitBytes = 0n }) =>
      node.ask((rpc) =>
        rpc.nodeExpandVolume({
          ...{ volumeId: id, volumePath, stagingTargetPath: '', secrets: {} },
          capacityRange: { requiredBytes, limitBytes },
          volumeCapability: undefined,
        }),
      ),
    unpublish: (changes) =>
      node.ask((rpc) => rpc.nodeUnpublishVolume({ volumeId: id, targetPath: volume.target, ...changes })),
    unstage: (changes) =>
      node.ask((rpc) => rpc.nodeUnstageVolume({ volumeId: id, stagingTargetPath: stagingPath, ...changes })),
    async [Symbol.asyncDispose]() {
      const problems: string[] = [];
      const expectOk = (call: string, { code, message }: Answer) => {
        if (code !== 'OK') problems.push(`${call}: ${code} ${message}`);
      };
      for (const targetPath of targets) {
        expectOk(`unpublish ${targetPath}`, await retried(() => volume.unpublish({ targetPath })));
        if (existsSync(targetPath)) problems.push(`there is still a target ${targetPath}`);
      }
      if (!inline) expectOk('unstage', await retried(() => volume.unstage()));
      const places = [stagingPath, ...targets];
      for (const { target, type } of places.flatMap((path) => [...mountsAt(path), ...mountsBelow(path)])) {
        problems.push(`still mounted: ${target} (${type})`);
      }
      for (const { text, file } of node.records()) {
        if (text.includes(JSON.stringify(id))) problems.push(`there is still a record ${file}`);
      }
      if (problems.length > 0) {
        // For the sake of the tests that follow.
        for (const path of places) for (const _ of mountsAt(path)) unmountCommand('--lazy', path);
        throw new Error(`left behind by ${id}:\n  ${problems.join('\n  ')}`);
      }
      rmSync(dirname(stagingPath), { recursive: true, force: true });
    },
  };
  return volume;
}

/** What kubelet adds with podInfoOnMount. */
export function podInfo(id: string, namespace = 'default'): Context {
  return {
    'csi.storage.k8s.io/pod.name': `pod-of-${id}`,
    'csi.storage.k8s.io/pod.namespace': namespace,
    'csi.storage.k8s.io/pod.uid': `uid-of-${id}`,
    'csi.storage.k8s.io/serviceAccount.name': 'default',
  };
}
