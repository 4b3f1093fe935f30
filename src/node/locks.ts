// One operation at a time per volume, and per path. CSI wants a second one refused, not queued: the caller tries again.
import { NodeError } from './reasons.ts';

export interface VolumeLocks {
  /** @throws NodeError (operation-pending) */
  take(volumeId: string, path: string): Disposable;
  /** For what concerns one path alone, and does not keep the volume's other paths from being served. */
  takePath(path: string): Disposable;
}

export function volumeLocks(): VolumeLocks {
  const held = new Set<string>();
  const takeAll = (...names: string[]): Disposable => {
    const taken = names.find((name) => held.has(name));
    if (taken !== undefined)
      throw new NodeError('operation-pending', `another operation on ${taken} is at work`);
    for (const name of names) held.add(name);
    return {
      [Symbol.dispose]() {
        for (const name of names) held.delete(name);
      },
    };
  };
  return {
    take: (volumeId, path) => takeAll(`volume ${volumeId}`, `path ${path}`),
    takePath: (path) => takeAll(`path ${path}`),
  };
}
