// The log's lines.

import { Writable } from 'node:stream';
import { expect } from 'chai';
import {
  createLogger,
  type LogFormat,
  type Logger,
  type LogLevel,
  type RootLogger,
} from '../../../src/observe/logger.ts';

describe('logger', () => {
  it('writes one JSON record per line, with time, level, message and fields', () => {
    const lines = written('json', (log) => log.info('mounted', { volumeId: 'v', bytes: 2n ** 60n }));
    expect(lines).to.have.length(1);
    const record = JSON.parse(lines[0] ?? '');
    expect(record).to.include({
      level: 'info',
      message: 'mounted',
      volumeId: 'v',
      bytes: '1152921504606846976',
    });
    expect(new Date(record.time).getTime()).to.be.closeTo(Date.now(), 60_000);
  });

  it('writes text for people', () => {
    const [line] = written('text', (log) =>
      log.warn('not yet', { path: '/a/b', why: 'no source', n: 3, gone: undefined }),
    );
    expect(line).to.match(/^\d{4}-\d\d-\d\dT[\d:.]+Z WARN {2}not yet path=\/a\/b why="no source" n=3$/);
  });

  for (const format of ['json', 'text'] as const) {
    it(`keeps what a caller names things to one line of ${format}`, () => {
      const nasty = 'a\nb\r\u001b[31m\u2028c';
      const lines = written(format, (log) => log.info(`x${nasty}`, { nasty, deep: { nasty } }));
      expect(lines).to.have.length(1);
      expect(lines[0]).to.not.contain('\r').and.not.contain('\u001b');
    });

    it(`shows an error in ${format} with its code and cause`, () => {
      const error = Object.assign(new Error('outer', { cause: new Error('inner') }), { code: 'EBUSY' });
      const [line] = written(format, (log) => log.error('failed', { error }));
      expect(line).to.contain('outer').and.contain('EBUSY').and.contain('inner');
    });
  }

  it('gives the fields of a child to all its lines, and lets a line have the last word', () => {
    const lines = written('json', (log) => {
      const child = log.child({ requestId: 'r', step: 1 }).child({ method: 'm' });
      child.info('one');
      child.info('two', { step: 2 });
      log.info('three');
    });
    expect(JSON.parse(lines[0] ?? '')).to.include({ requestId: 'r', method: 'm', step: 1 });
    expect(JSON.parse(lines[1] ?? '')).to.include({ requestId: 'r', step: 2 });
    expect(JSON.parse(lines[2] ?? '')).to.not.have.property('requestId');
  });

  it('does not let a field pose as the level, the time or the message', () => {
    const [line] = written('json', (log) =>
      log.info('true', { level: 'error', message: 'false', time: 'never' }),
    );
    expect(JSON.parse(line ?? '')).to.include({
      level: 'info',
      message: 'true',
      level_: 'error',
      message_: 'false',
      time_: 'never',
    });
  });

  it('leaves out what is below its level', () => {
    const all = (log: Logger) => {
      log.debug('d');
      log.info('i');
      log.warn('w');
      log.error('e');
    };
    const counts = (['error', 'warn', 'info', 'debug'] as const).map(
      (level) => written('json', all, level).length,
    );
    expect(counts).to.deep.equal([1, 2, 3, 4]);
  });

  it('makes fields that are given as a function for a line that is written, and for no other', () => {
    let made = 0;
    const fields = () => ({ made: ++made });
    const [line = '', ...more] = (['info', 'debug'] as const).flatMap((level) =>
      written('json', (log) => log.child({ requestId: 'r' }).debug('d', fields), level),
    );
    expect(JSON.parse(line)).to.include({ message: 'd', requestId: 'r', made: 1 });
    expect([more.length, made]).to.deep.equal([0, 1]);
  });

  it('takes another level at any time, for children too', () => {
    const messages = written(
      'json',
      (log) => {
        const child = log.child({ requestId: 'r' });
        child.debug('before');
        log.level = 'debug';
        child.debug('after');
        log.level = 'error';
        child.info('at last');
      },
      'info',
    ).map((line) => JSON.parse(line).message);
    expect(messages).to.deep.equal(['after']);
  });
});

function written(format: LogFormat, write: (log: RootLogger) => void, level: LogLevel = 'debug'): string[] {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, done) {
      text += chunk;
      done();
    },
  });
  write(createLogger({ level, format, stream }));
  return text.split('\n').slice(0, -1);
}
