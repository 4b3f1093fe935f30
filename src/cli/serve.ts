// `serve`: the plugin, by its signals:
//
//   SIGTERM, SIGINT   finish what has begun, and end
//   SIGUSR2           log at level debug, or as configured again
import { once } from 'node:events';
import { type Config, readConfig } from '../config.ts';
import { createLogger, type RootLogger } from '../observe/logger.ts';
import { startServer } from '../server.ts';

export async function serveCommand(flags: Readonly<Record<string, string | undefined>>): Promise<void> {
  const config = readConfig(flags, process.env);
  const log = createLogger({ level: config.logLevel, format: config.logFormat });
  process.on('SIGUSR2', () => switchLevel(log, config));
  const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  await using _server = await startServer(config, log);
  const [signal] = await stopped;
  log.info('shutting down', { signal: String(signal) });
}

/** A signal and not a page of the metrics' port, which whoever may read metrics reaches. */
function switchLevel(log: RootLogger, { logLevel }: Pick<Config, 'logLevel'>): void {
  const level = log.level === logLevel ? 'debug' : logLevel;
  log.level = level;
  // At the level that is always written.
  log.error('SIGUSR2: the log level is another one now', { logLevel: level });
}
