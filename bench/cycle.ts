// The unit of most benchmarks: a mount made and taken away, by an engine.
import type { Engine } from '../src/mount/engine.ts';
import type { Mount } from '../src/mount/mount.ts';

export function cycle(engine: Engine, mount: Mount | (() => Mount), path: string): () => Promise<void> {
  const target = { path };
  return async () => {
    await engine.mountAll({ mounts: [typeof mount === 'function' ? mount() : mount], target });
    await engine.unmount({ target });
  };
}
