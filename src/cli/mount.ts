// `mount`: one mount, as mount(8) would, by the engine.
import { realpathSync } from 'node:fs';
import { localEngine } from '../mount/engine.ts';
import { type KernelFlags, kernelOptionsOf, type MountFlags, mountOf } from './options.ts';

export interface MountCommandFlags extends MountFlags, KernelFlags {
  readonly json?: boolean;
}

export async function mountCommand(source: string, target: string, flags: MountCommandFlags): Promise<void> {
  const mount = mountOf(source, flags);
  const place = { path: realpathSync(target) };
  await using engine = localEngine(kernelOptionsOf(flags));
  await engine.mountAll({ mounts: [mount], target: place, programs: { mountFuse: 'fallback' } });
  if (!flags.json) return;
  const shown = await engine.lookup({ target: place });
  console.log(JSON.stringify(shown.is === 'mount-point' ? shown.mount : shown));
}
