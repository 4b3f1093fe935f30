// `fuse-host`: the process that FUSE helpers run below, by its signals:
//
//   SIGTERM, SIGINT   start nothing any more, wait for its volumes to be unpublished, and end; a second one: end at once
//   SIGUSR2           log at level debug, or as configured again (log-level.ts)
import { once } from 'node:events';
import { readFuseHostConfig } from '../fuse-host-config.ts';
import { startFuseHost } from '../fuse-host-server.ts';
import { createLogger } from '../observe/logger.ts';
import { keepHeapSmall } from '../sys/small-heap.ts';
import { switchLevelBySignal } from './log-level.ts';

export async function fuseHostCommand(flags: Readonly<Record<string, string | undefined>>): Promise<void> {
  keepHeapSmall();
  const config = readFuseHostConfig(flags, process.env);
  const log = createLogger({ level: config.logLevel, format: config.logFormat });
  switchLevelBySignal(log, config.logLevel);
  const asked = () => Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  const stopped = asked();
  await using host = await startFuseHost(config, log);
  const [signal] = await stopped;
  log.info('shutting down', { signal: String(signal) });
  const impatient = new AbortController();
  void asked().then(() => impatient.abort());
  await host.drain(impatient.signal);
}
