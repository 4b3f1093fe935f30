// Which mounts make a volume: at stage, at publish, inline.
import { expect } from 'chai';
import { kernelWith } from '../../../src/mount/kernel.ts';
import type { Mount } from '../../../src/mount/mount.ts';
import { plan } from '../../../src/mount/plan.ts';
import { FEATURES, type FeatureName } from '../../../src/sys/features.ts';
import { readVolumeContext, type VolumeContext } from '../../../src/volume/context.ts';
import { VolumeError } from '../../../src/volume/errors.ts';
import { publishMounts, stageMounts } from '../../../src/volume/mounts.ts';

const MAPPING = '0:100000:65536';
const IDS = { uidmap: MAPPING, gidmap: MAPPING };
const read = (context: VolumeContext, flags: readonly string[] = []) => readVolumeContext(context, flags);
const stage = (context: VolumeContext) => stageMounts(read(context));

const NEWEST = kernelWith(Object.keys(FEATURES) as FeatureName[]);
const planned = (mount: Mount) => plan(mount, NEWEST);

function theMount(mounts: readonly Mount[]): Mount {
  const [mount, ...more] = mounts;
  if (mount === undefined || more.length > 0) throw new Error(`${mounts.length} mounts`);
  return mount;
}

const CONTEXTS: Readonly<Record<string, VolumeContext>> = {
  bind: { source: '/srv' },
  'bind, idmapped': { source: '/srv', ...IDS },
  tmpfs: { type: 'tmpfs', options: 'size=1m' },
  overlay: { type: 'overlay', lowerdir: '/b:/a' },
  'overlay, idmapped': { type: 'overlay', lowerdir: '/b:/a', upperdir: '/u', workdir: '/w', ...IDS },
};

describe('the mounts of a volume', () => {
  describe('at stage: all of it', () => {
    it('bind', () => {
      const { type, source, target, options } = theMount(stage({ source: '/srv', options: 'noatime' }));
      expect({ type, source, target }).to.deep.equal({ type: 'bind', source: '/srv', target: undefined });
      expect(options).to.include.members(['bind', 'noatime']);
    });

    it('tmpfs', () => {
      const { type, options } = theMount(stage({ type: 'tmpfs', options: 'size=1m,mode=0700' }));
      expect(type).to.equal('tmpfs');
      expect(options).to.include.members(['size=1m', 'mode=0700']);
    });

    it('overlay, its layers in order', () => {
      const { type, options } = theMount(stage({ type: 'overlay', lowerdir: '/c:/b:/a' }));
      expect(type).to.equal('overlay');
      expect(options).to.include('lowerdir=/c:/b:/a');
      expect(options.filter((option) => /^(upper|work)dir=/.test(option))).to.deep.equal([]);
    });

    it('overlay with a writable layer', () => {
      const { options } = theMount(stage({ type: 'overlay', lowerdir: '/a', upperdir: '/u', workdir: '/w' }));
      expect(options).to.include.members(['lowerdir=/a', 'upperdir=/u', 'workdir=/w']);
    });

    it('a colon, a comma or a backslash of a path is one in the path of a layer', () => {
      const [lower, upper, work] = ['/a\\:b,c\\\\d', '/u:p,q', '/w\\x'];
      const mount = theMount(stage({ type: 'overlay', lowerdir: lower, upperdir: upper, workdir: work }));
      const steps = JSON.stringify(planned(mount));
      for (const path of ['/a:b,c\\d', '/u:p,q', '/w\\x']) {
        expect(steps, path).to.contain(JSON.stringify(path).slice(1, -1));
      }
    });

    it('an ID mapping, both halves', () => {
      const { options } = theMount(stage({ source: '/srv', uidmap: MAPPING, gidmap: '0:5:1' }));
      expect(options).to.include.members([`uidmap=${MAPPING}`, 'gidmap=0:5:1']);
    });
  });

  describe('at publish: a view of what is staged', () => {
    const view = { stagingPath: '/staging', readonly: false };
    for (const [what, context] of Object.entries(CONTEXTS)) {
      it(`${what}: a bind of the staging path, and nothing of the volume's own`, () => {
        const { type, source, options } = theMount(publishMounts(read(context), view));
        expect({ type, source }).to.deep.equal({ type: 'bind', source: '/staging' });
        expect(options.filter((option) => option.includes('='))).to.deep.equal([]);
        expect(options).to.not.include('ro');
        const readOnly = theMount(publishMounts(read(context), { ...view, readonly: true }));
        expect(readOnly.options.filter((option) => /^r?ro$/.test(option))).to.not.be.empty;
      });
    }
  });

  describe('inline: all of it at publish', () => {
    const inline = { stagingPath: undefined, readonly: false };
    it('as at stage', () => {
      for (const context of Object.values(CONTEXTS)) {
        expect(publishMounts(read(context), inline)).to.deep.equal(stage(context));
      }
    });

    it('read-only where the request says so, whatever the options say', () => {
      const context = { type: 'tmpfs', options: 'rw' };
      const { options } = theMount(publishMounts(read(context), { ...inline, readonly: true }));
      expect(options.lastIndexOf('ro')).to.be.greaterThan(options.lastIndexOf('rw'));
    });
  });

  it('nosuid, nodev and private come before what the author asks for, in every one', () => {
    for (const context of Object.values(CONTEXTS)) {
      const volume = read(context, ['noexec']);
      for (const stagingPath of ['/staging', undefined]) {
        for (const mount of [
          ...stageMounts(volume),
          ...publishMounts(volume, { stagingPath, readonly: false }),
        ]) {
          const text = mount.options.join(' ');
          expect(text).to.match(/\br?nosuid\b.*\br?nodev\b.*\br?private\b/);
          if (text.includes('noexec'))
            expect(text.indexOf('noexec')).to.be.greaterThan(text.indexOf('private'));
        }
      }
    }
  });

  it('every one of them can be planned', () => {
    for (const context of Object.values(CONTEXTS)) {
      for (const mount of stage(context)) expect(planned(mount)).to.not.be.empty;
      for (const readonly of [true, false]) {
        for (const mount of publishMounts(read(context), { stagingPath: '/s', readonly })) {
          expect(planned(mount)).to.not.be.empty;
        }
      }
    }
  });

  describe('ro on a bind', () => {
    const byOption = read({ source: '/srv', options: 'ro' });
    const byFlag = read({ source: '/srv' }, ['ro']);
    for (const [how, volume] of Object.entries({ byOption, byFlag })) {
      for (const stagingPath of ['/staging', undefined]) {
        it(`${how}, ${stagingPath ? 'staged' : 'inline'}: refused unless the request is read-only`, () => {
          expect(() => publishMounts(volume, { stagingPath, readonly: false }))
            .to.throw(VolumeError, /^options: ro on a bind does not reach the container.*readOnly: true/)
            .with.property('field', 'options');
          expect(publishMounts(volume, { stagingPath, readonly: true })).to.have.length(1);
        });
      }
    }

    it('is staged: the request does not say yet how it will be published', () => {
      expect(theMount(stageMounts(byOption)).options).to.include('ro');
    });

    it('is no concern of other types', () => {
      for (const context of [
        { type: 'tmpfs', options: 'ro' },
        { type: 'overlay', lowerdir: '/a', options: 'ro' },
      ]) {
        expect(publishMounts(read(context), { stagingPath: '/s', readonly: false })).to.have.length(1);
      }
    });
  });
});
