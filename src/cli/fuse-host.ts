// `fuse-host`: the process that FUSE helpers run below, until SIGTERM or SIGINT; a second one ends it at once.
import { once } from 'node:events';
import { readFuseHostConfig } from '../fuse-host-config.ts';
import { startFuseHost } from '../fuse-host-server.ts';
import { createLogger } from '../observe/logger.ts';
import { keepHeapSmall } from '../sys/small-heap.ts';

export async function fuseHostCommand(flags: Readonly<Record<string, string | undefined>>): Promise<void> {
  keepHeapSmall();
  const config = readFuseHostConfig(flags, process.env);
  const log = createLogger({ level: config.logLevel, format: config.logFormat });
  const asked = () => Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  const stopped = asked();
  await using host = await startFuseHost(config, log);
  const [signal] = await stopped;
  log.info('shutting down', { signal: String(signal) });
  const impatient = new AbortController();
  void asked().then(() => impatient.abort());
  await host.drain(impatient.signal);
}
