// How a pod with a user namespace of its own gets a volume that its runtime cannot map.
//
//   --user-namespaces   the runtime's NRI       is
//   nested              not asked               nested
//   auto                registered              nri
//                       never, or long lost     nested
//   nri                 registered              nri
//                       never, or long lost     unavailable: refused, and kubelet tries again
//
// What is lost a moment ago is on its way back: the runtime restarts, and makes no container meanwhile. Changing to the
// other way would give pods their volume at another place.
import type { PluginState } from '../nri/plugin.ts';

export type UserNamespaceWay =
  | { readonly is: 'nri' }
  | { readonly is: 'nested' }
  | { readonly is: 'unavailable'; readonly because: string };

const LOST_MS = 60_000;

/** @param state undefined where NRI is not used */
export function wayOf(asked: 'auto' | 'nri' | 'nested', state: PluginState | undefined): UserNamespaceWay {
  if (asked === 'nested' || state === undefined) return { is: 'nested' };
  if (state.is === 'registered' || (state.lostMs !== undefined && state.lostMs < LOST_MS))
    return { is: 'nri' };
  return asked === 'auto' ? { is: 'nested' } : { is: 'unavailable', because: state.because };
}
