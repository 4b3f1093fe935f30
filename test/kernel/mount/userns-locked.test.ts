import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { mountCommand, mountPlace, type TemporaryDirectory, unmountCommand } from '../../support/fixtures.ts';
import { maskedCalls, needRoot, needTool } from '../../support/need.ts';
import type { Answered, Asked } from './userns-locked.fixture.ts';

/** Carried out as root of a new user namespace, in a mount namespace that belongs to it. */
function inUserNamespace(...asked: Asked[]): Answered[] {
  const script = path.join(import.meta.dirname, 'userns-locked.fixture.ts');
  const output = execFileSync(
    'unshare',
    ['--user', '--map-root-user', '--mount', process.execPath, script, JSON.stringify(asked)],
    { encoding: 'utf8' },
  );
  return JSON.parse(output) as Answered[];
}

const at = (target: string, ...options: string[]): Asked => ({
  operation: 'mountAll',
  request: { mounts: [{ type: 'none', source: '', options }], target: { path: target } },
});
const bind = (source: string, target: string, ...options: string[]): Asked => ({
  operation: 'mountAll',
  request: { mounts: [{ type: 'bind', source, options }], target: { path: target } },
});
const look = (target: string): Asked => ({ operation: 'lookup', request: { target: { path: target } } });
const classic = (asked: Asked): Asked => ({ ...asked, api: 'classic' });
/** Mounting tells what the target shows then. */
const expectMounted = (answer: Answered | undefined) =>
  expect(answer).to.have.nested.property('result.is', 'mount-point');

describe('in a user namespace', () => {
  before(function () {
    needRoot(this, 'mounts');
    needTool(this, 'unshare', 'a user namespace');
  });

  /** `source` with flags that are locked inside, and an empty `target`. */
  function withLocked(
    test: (paths: { source: string; target: string }, place: TemporaryDirectory) => void,
  ): void {
    using place = mountPlace();
    const [source, target] = [place.at('source'), place.at('target')];
    mkdirSync(source);
    mkdirSync(target);
    mountCommand('-t', 'tmpfs', '-o', 'ro,nosuid,nodev,noexec,noatime', 'x', source);
    try {
      test({ source, target }, place);
    } finally {
      unmountCommand(source);
    }
  }

  it('a bind keeps the locked flags of its source', () => {
    withLocked(({ source, target }) => {
      const request = bind(source, target, 'rbind', 'nosymfollow');
      const answers = inUserNamespace(request, look(target), classic(request), look(target));
      for (const [mounted, shown] of [answers.slice(0, 2), answers.slice(2)]) {
        expectMounted(mounted);
        expect(shown)
          .to.have.nested.property('result.mount.options')
          .that.deep.equals(['ro', 'nosuid', 'nodev', 'noexec', 'noatime', 'nosymfollow']);
      }
    });
  });

  it('a remount keeps the locked flags, by mount_setattr(2) and by mount(2)', () => {
    withLocked(({ source }) => {
      const answers = inUserNamespace(
        at(source, 'remount', 'bind', 'ro'),
        classic(at(source, 'remount', 'bind', 'nosymfollow')),
        look(source),
      );
      for (const mounted of answers.slice(0, 2)) expectMounted(mounted);
      expect(answers[2])
        .to.have.nested.property('result.mount.options')
        .that.deep.equals(['ro', 'nosuid', 'nodev', 'noexec', 'noatime', 'nosymfollow']);
    });
  });

  const clearing: [options: string[], named: string][] = [
    [['rw'], 'rw'],
    [['suid', 'dev'], 'suid,dev'],
    [['ro', 'exec'], 'exec'],
    [['relatime'], 'relatime'],
    [['strictatime'], 'strictatime'],
    [['nodiratime'], 'nodiratime'],
  ];
  for (const [options, named] of clearing) {
    it(`what clears a locked flag is refused by name: ${options.join(',')}`, () => {
      withLocked(({ source, target }) => {
        const [remounted, classically, bound, shown] = inUserNamespace(
          at(source, 'remount', 'bind', ...options),
          classic(at(source, 'remount', 'bind', ...options)),
          bind(source, target, ...options),
          look(target),
        );
        expect(classically).to.include({ reason: 'not-permitted' });
        expect(classically).to.have.property('message').that.includes('locked');
        for (const answer of maskedCalls.length > 0 ? [] : [remounted, bound]) {
          expect(answer).to.include({ reason: 'not-permitted' });
          expect(answer)
            .to.have.property('message')
            .that.includes(`${named} would change flags`)
            .and.includes('locks them');
        }
        expect(shown).to.deep.equal({ result: { is: 'not', isFree: true } });
      });
    });
  }

  it('the filesystem of another one cannot be changed, which the error says', () => {
    withLocked(({ source }) => {
      const [answer] = inUserNamespace(at(source, 'remount', 'size=1m'));
      expect(answer).to.include({ reason: 'not-permitted' });
      expect(answer).to.have.property('message').that.includes('add bind');
    });
  });

  it('its own mounts are changed as anywhere', () => {
    withLocked(({ target }) => {
      const tmpfs: Asked = {
        operation: 'mountAll',
        request: {
          mounts: [{ type: 'tmpfs', source: 'x', options: ['ro', 'nosuid'] }],
          target: { path: target },
        },
      };
      const answers = inUserNamespace(tmpfs, at(target, 'remount', 'rw', 'suid', 'size=1m'), look(target));
      for (const mounted of answers.slice(0, 2)) expectMounted(mounted);
      expect(answers[2]).to.have.nested.property('result.mount.options').that.deep.equals(['rw', 'relatime']);
    });
  });

  it('a locked mount is not taken for no mount: unmounting it is refused', () => {
    withLocked(({ source }, place) => {
      const [one, tree] = inUserNamespace(
        { operation: 'unmount', request: { target: { path: source } } },
        { operation: 'unmountRecursive', request: { target: { path: place.path } } },
      );
      expect(one).to.include({ reason: 'not-permitted' });
      expect(one).to.have.property('message').that.includes('more privileged mount namespace');
      expect(tree).to.include({ reason: 'not-permitted' });
      expect(tree)
        .to.have.property('message')
        .that.includes(`2 of the mounts at and below ${place.path} are left`);
    });
  });

  it('a plain bind of what has locked mounts below is refused with the remedy', () => {
    withLocked(({ target }, place) => {
      const [plain, whole] = inUserNamespace(
        bind(place.path, target, 'bind'),
        bind(place.path, target, 'rbind'),
      );
      expect(plain).to.have.property('message').that.includes('rbind');
      expectMounted(whole);
    });
  });
});
