// How pods with user namespaces are served: what is asked for, and what the runtime has.
import { expect } from 'chai';
import { wayOf } from '../../../src/node/user-namespaces.ts';
import type { PluginState } from '../../../src/nri/plugin.ts';

const registered: PluginState = { is: 'registered', runtime: 'containerd 2.4.2' };
const lost = (lostMs: number | undefined): PluginState => ({
  ...{ is: 'not-registered', because: 'ENOENT' },
  lostMs,
});

describe('the way of a pod with a user namespace', () => {
  const rows: readonly (readonly [asked: 'auto' | 'nri' | 'nested', PluginState | undefined, way: string])[] =
    [
      ['nested', undefined, 'nested'],
      ['nested', registered, 'nested'],
      ['auto', undefined, 'nested'],
      ['auto', registered, 'nri'],
      ['auto', lost(undefined), 'nested'],
      ['auto', lost(1_000), 'nri'],
      ['auto', lost(61_000), 'nested'],
      ['nri', registered, 'nri'],
      ['nri', lost(1_000), 'nri'],
      ['nri', lost(undefined), 'unavailable'],
      ['nri', lost(61_000), 'unavailable'],
    ];
  for (const [asked, state, way] of rows) {
    const told = state === undefined ? 'not used' : `${state.is}, ${JSON.stringify(state)}`;
    it(`${asked}, NRI ${told}: ${way}`, () => {
      expect(wayOf(asked, state)).to.include({ is: way });
    });
  }

  it('says why there is none', () => {
    expect(wayOf('nri', lost(undefined))).to.deep.equal({ is: 'unavailable', because: 'ENOENT' });
  });
});
