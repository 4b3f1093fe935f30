// An overlay of a pod with a user namespace whose runtime has NRI: a placeholder until the sandbox is there, as a specimen.
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { NriHost, PodOfRuntime } from '../support/nri-host.ts';
import { scaled } from '../support/time-scale.ts';
import { mountsAt } from './kernel.ts';
import { podOn } from './pod.ts';
import type { Specimen } from './specimens.ts';
import { volumeOn } from './volume.ts';

const PATIENCE_MS = scaled(60_000);

/** @param host the runtime's side of NRI; a plugin that was restarted registers there again */
export function placeholderSpecimen(host: () => NriHost): Specimen {
  return {
    title: 'overlay behind a placeholder',
    calls: ['stage', 'publish', 'unpublish', 'unstage'],
    make(node) {
      const lower = node.at('data', randomUUID(), 'lower');
      mkdirSync(lower, { recursive: true });
      writeFileSync(join(lower, 'file'), 'below');
      const pod = podOn(node);
      const context = { type: 'overlay', lowerdir: lower, writable: 'ephemeral', idmap: 'pod' };
      const volume = volumeOn(node, { context });
      const target = pod.targetOf('data');
      const note = join(target, 'note');
      const volumeContext = { ...volume.context, ...pod.info };
      const sandbox: PodOfRuntime = {
        ...{ id: `sandbox-of-${pod.uid}`, name: pod.name, uid: pod.uid, namespace: 'default' },
        linux: { namespaces: [{ type: 'user' }] },
      };
      return {
        volume: { ...volume, target },
        call(name) {
          if (name === 'stage') return volume.stage({ volumeContext });
          if (name === 'unstage') return volume.unstage();
          if (name === 'unpublish') return volume.unpublish({ targetPath: target });
          pod.targetOf('data');
          return volume.publish({ targetPath: target, volumeContext });
        },
        async makePod() {
          pod.record();
          // With a plugin that is away, or fails, kubelet tries again.
          const deadline = performance.now() + PATIENCE_MS;
          while (!existsSync(join(target, 'file'))) {
            await host().runPodSandbox(sandbox);
            if (performance.now() > deadline) throw new Error(`waited in vain: the volume is at ${target}`);
            await delay(20);
          }
        },
        async run() {
          await this.makePod?.();
          writeFileSync(note, 'note');
        },
        expectPublished: () => expect(mountsAt(target)).to.not.be.empty,
        expectKept: () => expect(readFileSync(note, 'utf8')).to.equal('note'),
        hasNote: () => existsSync(note),
      };
    },
  };
}
