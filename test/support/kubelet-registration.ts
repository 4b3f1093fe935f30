// Kubelet's side of the registration of plugins: finds a socket, asks, and tells what became of it.
import { existsSync } from 'node:fs';
import { connect } from '../../src/rpc/client.ts';
import { type PluginInfo, RegistrationService } from '../../src/rpc/generated/pluginregistration.ts';
import { eventually } from './fixtures.ts';

/** @param problem why it does not register the plugin; registered without one */
export async function registerAt(socket: string, problem = ''): Promise<PluginInfo> {
  await eventually(`a socket ${socket}`, () => existsSync(socket));
  // Each time on a connection of its own.
  using client = connect(RegistrationService, socket);
  const info = await client.getInfo({}, { timeoutMs: 30_000 });
  const status = { pluginRegistered: problem === '', error: problem };
  await client.notifyRegistrationStatus(status, { timeoutMs: 30_000 });
  return info;
}
