// The Identity service by itself, its readiness above all.
import { expect } from 'chai';
import { identityHandlers } from '../../../src/identity/service.ts';
import type { CallContext } from '../../../src/rpc/context.ts';

/** The handlers look at neither request nor context. */
const context = undefined as unknown as CallContext;

describe('the Identity service', () => {
  let ready = false;
  const handlers = identityHandlers({ name: 'idmap.csi.dev', version: '1.2.3', isReady: () => ready });

  it('Probe: not ready until the plugin is, and asked each time', async () => {
    expect(await handlers.probe?.({}, context)).to.deep.equal({ ready: false });
    ready = true;
    expect(await handlers.probe?.({}, context)).to.deep.equal({ ready: true });
    ready = false;
    expect(await handlers.probe?.({}, context)).to.deep.equal({ ready: false });
  });

  it('GetPluginInfo: what it was given', async () => {
    const info = { name: 'idmap.csi.dev', vendorVersion: '1.2.3', manifest: {} };
    expect(await handlers.getPluginInfo?.({}, context)).to.deep.equal(info);
  });

  it('GetPluginCapabilities: none, as a node plugin', async () => {
    expect(await handlers.getPluginCapabilities?.({}, context)).to.deep.equal({ capabilities: [] });
  });
});
