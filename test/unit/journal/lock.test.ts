// One driver per state directory.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { expect } from 'chai';
import { openJournal } from '../../../src/journal/journal.ts';
import { lockDirectory } from '../../../src/journal/lock.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';
import { needTool } from '../../support/need.ts';

describe('the lock of a state directory', () => {
  let directory: TemporaryDirectory;
  let state: string;

  before(function () {
    needTool(this, 'flock', 'another process that holds the lock');
  });
  beforeEach(() => {
    directory = temporaryDirectory();
    state = directory.at('state');
    mkdirSync(state);
  });
  afterEach(() => directory[Symbol.dispose]());

  /** Another process that holds the lock until it is told to end. */
  async function holder(): Promise<ChildProcess> {
    const child = spawn('flock', [state, 'sh', '-c', 'echo held; read _'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    return child;
  }

  async function end(child: ChildProcess): Promise<void> {
    const closed = once(child, 'close');
    child.stdin?.end();
    await closed;
  }

  it('that another process holds is refused, with the directory and the remedy', async () => {
    const other = await holder();
    try {
      const failure = await lockDirectory(state).catch((error: unknown) => error);
      expect(failure)
        .to.be.instanceOf(Error)
        .with.property(
          'message',
          `${state} is in use by another driver; stop it, or give this one its own --state-dir`,
        );
    } finally {
      await end(other);
    }
  });

  it('that is let go of while we wait becomes ours', async () => {
    const other = await holder();
    const waiting = lockDirectory(state);
    await end(other);
    using lock = await waiting;
    expect(lock.number).to.be.greaterThan(2);
  });

  it('is let go of when it is disposed of', async () => {
    (await lockDirectory(state))[Symbol.dispose]();
    using _again = await lockDirectory(state);
  });

  it('ends with the journal', async () => {
    const options = { stateDir: state, onSetAside: () => undefined };
    (await openJournal(options))[Symbol.dispose]();
    using _again = await openJournal(options);
  });

  it('keeps a second journal from opening, which then holds nothing', async () => {
    const options = { stateDir: state, onSetAside: () => undefined };
    {
      using _first = await openJournal(options);
      const failure = await openJournal(options).catch((error: unknown) => error);
      expect(failure)
        .to.be.instanceOf(Error)
        .with.property('message')
        .that.contains('in use by another driver');
    }
    using _after = await openJournal(options);
  });

  it('of a directory that is not there: its name', async () => {
    const failure = await lockDirectory(directory.at('absent')).catch((error: unknown) => error);
    expect(String(failure)).to.contain(directory.at('absent'));
  });
});
