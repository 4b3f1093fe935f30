// `serve`: the plugin, until SIGTERM or SIGINT.
import { once } from 'node:events';
import { readConfig } from '../config.ts';
import { createLogger } from '../observe/logger.ts';
import { startServer } from '../server.ts';

export async function serveCommand(flags: Readonly<Record<string, string | undefined>>): Promise<void> {
  const config = readConfig(flags, process.env);
  const log = createLogger({ level: config.logLevel, format: config.logFormat });
  const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  await using _server = await startServer(config, log);
  const [signal] = await stopped;
  log.info('shutting down', { signal: String(signal) });
}
