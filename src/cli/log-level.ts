// SIGUSR2: log at level debug, or as configured again. A signal, and not a page of the metrics' port, which whoever may
// read metrics reaches.
import type { LogLevel, RootLogger } from '../observe/logger.ts';

export function switchLevelBySignal(log: RootLogger, configured: LogLevel): void {
  process.on('SIGUSR2', () => {
    const level = log.level === configured ? 'debug' : configured;
    log.level = level;
    // At the level that is always written.
    log.error('SIGUSR2: the log level is another one now', { logLevel: level });
  });
}
