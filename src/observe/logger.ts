// The log: a small structural interface that the rest of the code is written against, and its making by
// winston. A line is one record whatever it carries: control characters of a volume's name or of a kernel
// message can start no second line. Redaction is the caller's duty; nothing here knows a secret.

import type { Writable } from 'node:stream';
import winston from 'winston';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';
export type LogFormat = 'json' | 'text';
export type LogFields = Record<string, unknown>;

export interface Logger {
  /** Fields that cost something come as a function, which is only called where the line is written. */
  debug(message: string, fields?: LogFields | (() => LogFields)): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds these fields to every line; a line's own fields win. */
  child(fields: LogFields): Logger;
}

/** The logger that all others are children of, and one level for all of them, which can be changed at any time. */
export interface RootLogger extends Logger {
  level: LogLevel;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Standard error unless given: standard output belongs to the commands' results. */
  readonly stream?: Writable;
}

export function createLogger({ level, format, stream = process.stderr }: LoggerOptions): RootLogger {
  const render = format === 'json' ? renderJson : renderText;
  const logger = winston.createLogger({
    levels,
    level,
    format: winston.format.printf((info) =>
      render({
        time: new Date().toISOString(),
        level: info.level,
        message: String(info.message),
        fields: info.fields as LogFields,
      }),
    ),
    transports: [new winston.transports.Stream({ stream, eol: '\n' })],
  });
  // The fields travel under one name: spread over the record, winston would glue a field called `message`
  // to the message and let one called `level` change the level.
  const root = withFields(
    {
      isWritten: (entryLevel) => levels[entryLevel] <= levels[logger.level as LogLevel],
      write: (entryLevel, message, fields) => logger.log({ level: entryLevel, message, fields }),
    },
    {},
  );
  return {
    ...root,
    get level() {
      return logger.level as LogLevel;
    },
    set level(next) {
      logger.level = next;
    },
  };
}

interface Line {
  readonly time: string;
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

const levels: Record<LogLevel, number> = { error: 0, warn: 1, info: 2, debug: 3 };

interface Sink {
  readonly isWritten: (level: LogLevel) => boolean;
  readonly write: (level: LogLevel, message: string, fields: LogFields) => void;
}

function withFields(sink: Sink, base: LogFields): Logger {
  const at =
    (level: LogLevel) =>
    (message: string, fields: LogFields | (() => LogFields) = {}) => {
      if (!sink.isWritten(level)) return;
      sink.write(level, message, { ...base, ...(typeof fields === 'function' ? fields() : fields) });
    };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => withFields(sink, { ...base, ...fields }),
  };
}

function renderJson({ time, level, message, fields }: Line): string {
  return JSON.stringify({ time, level, message, ...renamed(fields) }, replacer);
}

function renderText({ time, level, message, fields }: Line): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${renderValue(value)}`);
  return `${time} ${level.toUpperCase().padEnd(5)} ${escapeControls(message)}${pairs.join('')}`;
}

function renderValue(value: unknown): string {
  if (typeof value === 'string' && /^[\w./:@%+,-]+$/.test(value)) return value;
  return escapeControls(JSON.stringify(value, replacer) ?? String(value));
}

/** C0, DEL, C1 and Unicode's line separators, which terminals and log collectors take for line ends. */
function escapeControls(text: string): string {
  return text.replace(
    /[\p{Cc}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** A field must not pose as the record's own time, level or message. */
function renamed(fields: LogFields): LogFields {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => [
      ['time', 'level', 'message'].includes(key) ? `${key}_` : key,
      value,
    ]),
  );
}

/** What JSON cannot say by itself: sizes are bigints, and an Error has no enumerable properties. */
function replacer(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Error) {
    const { name, message, cause } = value;
    return { ...value, name, message, ...(cause === undefined ? {} : { cause }) };
  }
  return value;
}
