// What a run of several mochas says in the end, however they end.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';

const ROOT = join(import.meta.dirname, '../../..');
const SUPPORT = join(import.meta.dirname, '../../support');
const MOCHA = [process.execPath, join(ROOT, 'node_modules/mocha/bin/mocha.js')];

/** The summary of these jobs, by a program of its own: it reads its limit when it begins. */
async function summary(ends: string, command: readonly string[], minutes: string): Promise<string[]> {
  const script = `
    import { runJobs } from '${SUPPORT}/jobs.ts';
    import { summaryOf } from '${SUPPORT}/report.ts';
    const command = ${JSON.stringify(command)};
    const report = await runJobs([{ title: 'one', command }, { title: 'other', command }], 2);
    console.log('SUMMARY\\n' + summaryOf(report));`;
  const { CI: _, ...env } = process.env;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], {
    cwd: ROOT,
    env: { ...env, JOB_ENDS: ends, TEST_JOB_MINUTES: minutes },
  });
  return stdout.split('SUMMARY\n')[1]?.trimEnd().split('\n') ?? [];
}

const failures = (lines: readonly string[]) => lines.filter((line) => line.startsWith('failed: '));

const fixture = [...MOCHA, 'test/unit/support/jobs.fixture.ts'];

describe('a run of several jobs', () => {
  it('counts what passed', async () => {
    expect(await summary('well', fixture, '')).to.deep.equal(['', '10 passed, 0 failed, 0 skipped']);
  });

  it('tells each reason to skip once, with how many it skipped', async () => {
    const lines = await summary('skipping', fixture, '');
    expect(lines).to.deep.equal(['skipped 4: nothing is allowed today', '', '6 passed, 0 failed, 4 skipped']);
  });

  it('tells failures with the job that they are of', async () => {
    const lines = await summary('failing', fixture, '');
    expect(failures(lines)[0]).to.equal('failed: one: a job fails: Error: as it was told');
    expect(lines[0], 'reasons to skip come first: of a long output, the end is kept').to.equal('');
    expect(lines.at(-1)).to.equal('8 passed, 2 failed, 0 skipped');
  });

  it('says in which test a job was when it was killed', async () => {
    const lines = await summary('killed', fixture, '');
    expect(failures(lines)[0]).to.match(
      /^failed: one: ended with SIGKILL after [\d.]+ s, without a report, in: a job is killed$/,
    );
    expect(lines.at(-1)).to.equal('0 passed, 2 failed, 0 skipped');
  });

  it('ends a job that takes too long', async () => {
    const lines = await summary('', ['sleep', '300'], '0.001');
    expect(failures(lines)[0]).to.match(/ended with SIGKILL .* in: what comes before the first test$/);
    expect(lines.at(-1)).to.equal('0 passed, 2 failed, 0 skipped');
  });
});
