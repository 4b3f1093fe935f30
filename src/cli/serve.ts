// `serve`: the plugin, by its signals:
//
//   SIGTERM, SIGINT   finish what has begun, and end
//   SIGUSR2           log at level debug, or as configured again (log-level.ts)
import { once } from 'node:events';
import { readConfig } from '../config.ts';
import { processEngine } from '../mount/engine/processes.ts';
import { keepHeapSmall } from '../sys/small-heap.ts';
import { switchLevelBySignal } from './log-level.ts';

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
  switchLevelBySignal(log, config.logLevel);
  const stopped = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
  await using _server = await startServer(config, { log, engine });
  const [signal] = await stopped;
  log.info('shutting down', { signal: String(signal) });
}
