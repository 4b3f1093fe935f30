// `serve`: the plugin, by its signals:
//
//   SIGTERM, SIGINT   finish what has begun, and end
//   SIGUSR2           log at level debug, or as configured again
import { once } from 'node:events';
import { type Config, readConfig } from '../config.ts';
import { processEngine } from '../mount/engine/processes.ts';
import type { RootLogger } from '../observe/logger.ts';
import { keepHeapSmall } from '../sys/small-heap.ts';

/** Kernel work in parallel: mounts are short, and a node has few cores to spare for them. */
const ENGINE_PROCESSES = 2;

export async function serveCommand(flags: Readonly<Record<string, string | undefined>>): Promise<void> {
  keepHeapSmall();
  const config = readConfig(flags, process.env);
  // Its process starts while the rest of the code is loaded. The server ends it, if it comes to be.
  await using engine = processEngine({ processes: ENGINE_PROCESSES, kernel: config.kernel, ahead: true });
  const { createLogger } = await import('../observe/logger.ts');
  const { startServer } = await import('../server.ts');
  const log = createLogger({ level: config.logLevel, format: config.logFormat });
  process.on('SIGUSR2', () => switchLevel(log, config));
  const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  await using _server = await startServer(config, { log, engine });
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
