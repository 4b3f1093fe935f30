// The mounts of a volume: what policy adds, what authors ask for, and that paths come from their own keys alone.
import { expect } from 'chai';
import fc from 'fast-check';
import { parseLowerdir, unescapePath } from '../../../src/mount/layers.ts';
import { readVolumeContext, type VolumeContext } from '../../../src/volume/context.ts';
import { planPublish } from '../../../src/volume/publish.ts';
import { planStage } from '../../../src/volume/stage.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import { wholeVolume } from '../../../src/volume/whole.ts';
import {
  CONTEXTS,
  NAMES,
  PUBLICATION,
  planned,
  STAGING,
  TERMS,
  theMount,
  valuesOf,
  volumeOf,
} from './volumes.ts';

const AS_IT_IS = { idmap: { is: 'none' }, group: undefined, mayMap: true } as const;
const whole = (volume: Volume) =>
  wholeVolume(volume, { terms: TERMS, ownership: { ...AS_IT_IS, idmap: volume.idmap }, view: [] });

/** All mounts that the driver ever makes of it, nested publishes apart. */
function everyMount(volume: Volume) {
  const views = [undefined, '/staging'].flatMap((stagingPath) => {
    const plan = planPublish(volume, { ...PUBLICATION, stagingPath });
    return plan.is === 'mounts' ? plan.mounts : [];
  });
  return [...planStage(volume, STAGING).mounts, ...views];
}

describe('the mounts of a volume', () => {
  it('are no peers of their source, and what policy adds comes before what the author asks for', () => {
    for (const name of NAMES) {
      const volume = volumeOf(name, name === 'mounts' ? {} : { options: 'noexec' });
      for (const { options } of everyMount(volume)) {
        const text = options.join(' ');
        expect(text, name).to.match(/\br?unpeered\b.*\bnosuid nodev\b/);
        if (options.includes('noexec')) {
          expect(options.indexOf('noexec'), name).to.be.greaterThan(options.indexOf('nodev'));
        }
      }
    }
  });

  it('what the keys say comes after what the options do, and wins', () => {
    const smuggled = 'lowerdir=/etc,upperdir=/etc,uidmap=0:0:1,size=1,rw';
    for (const name of NAMES.filter((one) => one !== 'mounts')) {
      const { options } = theMount(whole(volumeOf(name, { options: smuggled })));
      const last = options.findLastIndex((option) => smuggled.split(',').includes(option));
      for (const key of ['lowerdir', 'upperdir', 'uidmap'] as const) {
        const own = (CONTEXTS[name] as VolumeContext)[key];
        if (own === undefined) continue;
        expect(options.lastIndexOf(`${key}=${own}`), `${name} ${key}`).to.be.greaterThan(last);
      }
    }
  });

  it('a tmpfs that policy limits has that limit, whatever the options say', () => {
    const terms = { ...TERMS, parts: [{ options: [], sizeLimit: 4096 }] };
    const volume = volumeOf('tmpfs', { options: 'size=1g' });
    const mount = theMount(wholeVolume(volume, { terms, ownership: AS_IT_IS, view: [] }));
    expect(valuesOf(mount, 'size').at(-1)).to.equal('4096');
  });

  it('a colon, a comma or a backslash of a path is one in the path of a layer', () => {
    const [lowerdir, upperdir, workdir] = ['/a\\:b,c\\\\d', '/u:p,q', '/w\\x'];
    const mount = theMount(whole(volumeOf('persistent overlay', { lowerdir, upperdir, workdir })));
    const steps = JSON.stringify(planned(mount));
    for (const path of ['/a:b,c\\d', '/u:p,q', '/w\\x']) {
      expect(steps, path).to.contain(JSON.stringify(path).slice(1, -1));
    }
  });

  // Whatever is in a path, no part of it becomes an option or another layer.
  const name = fc.string({
    unit: fc.constantFrom('a', ':', ',', '\\', '=', '"', ' ', '::', 'lowerdir=', ',ro'),
  });
  const path = fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => `/${names.join('/')}`);
  const escaped = (one: string) => one.replace(/[\\:]/g, '\\$&');

  it('the paths in an overlay are those of its keys, to the letter', () => {
    const layers = fc.array(path, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(layers, path, path, fc.boolean(), (lower, upperdir, workdir, persistent) => {
        const context = {
          ...{ type: 'overlay', lowerdir: lower.map(escaped).join(':') },
          ...(persistent && { upperdir, workdir }),
        };
        for (const mount of everyMount(readVolumeContext(context))) {
          if (mount.type === 'bind') continue;
          const [text = ''] = valuesOf(mount, 'lowerdir');
          expect(parseLowerdir(text, 'lowerdir')).to.deep.equal(
            lower.map((one) => ({ path: one, dataOnly: false })),
          );
          expect(valuesOf(mount, 'upperdir').map(unescapePath)).to.deep.equal(persistent ? [upperdir] : []);
          expect(valuesOf(mount, 'workdir').map(unescapePath)).to.deep.equal(persistent ? [workdir] : []);
          const others = mount.options.filter((option) => !/^(lower|upper|work)dir=/.test(option));
          expect(others).to.deep.equal(['unpeered', 'nosuid', 'nodev']);
        }
      }),
    );
  });

  it('no other kind has a path among its options, and its source is that of its key', () => {
    const kind = fc.constantFrom('bind', 'image', 'ext4', 'fuse.bindfs');
    fc.assert(
      fc.property(kind, path, (type, source) => {
        for (const mount of everyMount(readVolumeContext({ type, source }))) {
          expect(mount.source).to.be.oneOf([source, '/staging']);
          expect(mount.options.filter((option) => option.includes('/'))).to.deep.equal([]);
        }
      }),
    );
  });

  it('the options are those of policy, of the keys, and of the author as he wrote them', () => {
    const OURS =
      /^(bind|rbind|r?unpeered|nosuid|nodev|allow_other|default_permissions|(lower|upper|work)dir=.*|(uid|gid)map=[\d:,]+|root[ug]id=\d+|size=\d+)$/;
    const options = fc.array(fc.string({ minLength: 1 }), { maxLength: 3 });
    fc.assert(
      fc.property(
        fc.constantFrom(...NAMES.filter((one) => one !== 'mounts')),
        options,
        (what, mountFlags) => {
          let volume: Volume;
          try {
            volume = volumeOf(what, {}, { mountFlags });
          } catch {
            return;
          }
          for (const mount of everyMount(volume)) {
            for (const option of mount.options) {
              if (!mountFlags.includes(option)) expect(option, what).to.match(OURS);
            }
          }
        },
      ),
    );
  });
});
