// What one pod gets at its target.
import { expect } from 'chai';
import { parseIdMapping } from '../../../src/userns/mapping.ts';
import { VolumeError } from '../../../src/volume/errors.ts';
import {
  canBeMappedLater,
  isNested,
  layerWanted,
  PLACEHOLDER,
  type Publication,
  placeholderOf,
  planMounts,
  planPublish,
} from '../../../src/volume/publish.ts';
import { planStage } from '../../../src/volume/stage.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import {
  blockVolume,
  INLINE,
  MAPPING,
  NAMES,
  type Name,
  PUBLICATION,
  planned,
  STAGING,
  TERMS,
  theMount,
  valuesOf,
  volumeOf,
} from './volumes.ts';

const publish = (volume: Volume, more: Partial<Publication> = {}) =>
  planPublish(volume, { ...PUBLICATION, ...more });

function mountsOf(volume: Volume, more: Partial<Publication> = {}) {
  const plan = publish(volume, more);
  if (plan.is !== 'mounts') throw new Error(`${plan.is}, not mounts`);
  return plan.mounts;
}

const published = (name: Name, more: Partial<Publication> = {}) => theMount(mountsOf(volumeOf(name), more));

const POD = {
  uid: parseIdMapping('0:65536:65536', 'uidmap'),
  gid: parseIdMapping('0:131072:65536', 'gidmap'),
};
const LAYER = { upperdir: '/state/layers/x/upper', workdir: '/state/layers/x/work' };

/** And the same without the mapping. */
const UNNESTED: Readonly<Partial<Record<Name, Name>>> = {
  'overlay, idmap: pod': 'read-only overlay',
  'persistent overlay, idmap: pod': 'persistent overlay',
  'fuse, idmap: pod': 'fuse',
};
const NESTED = Object.keys(UNNESTED) as Name[];
const BINDS = ['bind', 'bind, mapped', 'bind with an owner', 'bind, idmap: pod'] as const;
const NOT_STAGED: readonly Name[] = [...NESTED, ...BINDS, 'ephemeral overlay'];
const VIEWS = NAMES.filter((name) => !NOT_STAGED.includes(name));
const SINGLE_VIEWS = VIEWS.filter((name) => name !== 'mounts');
const CAN_BE_INLINE = NAMES.filter((name) => !NESTED.includes(name) && name !== 'mounts');

describe('a view of what is staged', () => {
  for (const name of VIEWS) {
    it(`${name}: a bind of the staging path, and nothing of what the volume is made of`, () => {
      const mount = published(name);
      expect(mount).to.include({ type: 'bind', source: '/staging' });
      expect(JSON.stringify(mount)).to.not.match(/srv|lowerdir|vdb|size=/);
      expect(mount.options).to.not.include('ro');
      expect(planned(mount)).to.not.be.empty;
    });

    it(`${name}: read-only when the request says so`, () => {
      const mount = published(name, { readonly: true });
      expect(mount.options.at(-1)).to.equal(name === 'mounts' ? 'rro' : 'ro');
      expect(planned(mount)).to.not.be.empty;
    });
  }

  it('of several mounts is all of them', () => {
    expect(published('mounts').options).to.include.members(['rbind', 'runpeered']);
  });

  it('is mapped for the pod, where it was not when it was made', () => {
    for (const name of ['tmpfs', 'image', 'device'] as const) {
      expect(valuesOf(published(name, { group: 7 }), 'rootgid'), name).to.deep.equal(['7']);
    }
    for (const name of ['persistent overlay, mapped', 'fuse', 'mounts'] as const) {
      expect(published(name, { group: 7 }).options.join(), name).to.not.match(/map=|root.id=/);
    }
  });

  it('bind: none, but the source itself, with the ids and flags of this pod', () => {
    for (const name of BINDS) {
      expect(published(name), name).to.include({ type: 'bind', source: '/srv' });
      expect(planned(published(name)), name).to.not.be.empty;
      expect(published(name, { readonly: true }).options.at(-1), name).to.equal('ro');
    }
    expect(valuesOf(published('bind, mapped'), 'uidmap')).to.deep.equal([MAPPING]);
    expect(valuesOf(published('bind with an owner'), 'rootuid')).to.deep.equal(['1000']);
    for (const name of ['bind', 'bind, idmap: pod'] as const) {
      expect(valuesOf(published(name, { group: 7 }), 'rootgid'), name).to.deep.equal(['7']);
    }
  });

  it('is mapped by nobody but the runtime, for a pod with a user namespace', () => {
    for (const name of [...SINGLE_VIEWS, ...BINDS]) {
      const { options } = published(name, { mayMap: false, group: 7 });
      expect(options.join(), name).to.not.match(/map=|root.id=/);
    }
  });
});

describe('a volume that is made at publish', () => {
  it('inline: as at stage, with its own ids', () => {
    for (const name of CAN_BE_INLINE) {
      const mounts = mountsOf(volumeOf(name, INLINE), { stagingPath: undefined });
      expect(mounts, name).to.have.length(1);
      expect(planned(theMount(mounts)), name).to.not.be.empty;
      if (/mapped/.test(name)) expect(valuesOf(theMount(mounts), 'uidmap'), name).to.deep.equal([MAPPING]);
    }
    const inline = (name: Name) => mountsOf(volumeOf(name, INLINE), { stagingPath: undefined });
    for (const name of ['tmpfs', 'read-only overlay', 'image', 'device', 'fuse'] as const) {
      expect(inline(name), name).to.deep.equal(planStage(volumeOf(name), STAGING).mounts);
    }
  });

  it('inline: read-only where the request or the access mode says so, whatever the options say', () => {
    const device = volumeOf('device', { ...INLINE, options: 'rw' });
    for (const more of [{ readonly: true }, { readOnlyMode: true }]) {
      expect(theMount(mountsOf(device, { stagingPath: undefined, ...more })).options.at(-1)).to.equal('ro');
    }
  });

  it('a read-only overlay shows the group of its pod by its layers', () => {
    const mount = published('read-only overlay', { group: 7 });
    expect(mount).to.include({ type: 'overlay' });
    expect(valuesOf(mount, 'rootgid')).to.deep.equal(['7']);
    // Not where the runtime maps: then all share one.
    expect(published('read-only overlay', { group: 7, mayMap: false })).to.include({ type: 'bind' });
  });

  it('no FUSE volume fails for a group that its helper cannot show', () => {
    const volume = volumeOf('fuse', INLINE);
    const mounts = mountsOf(volume, { stagingPath: undefined, group: 7 });
    expect(valuesOf(theMount(mounts), 'rootgid')).to.be.empty;
  });

  describe('an ephemeral overlay', () => {
    const volume = volumeOf('ephemeral overlay', { sizeLimit: '1Gi' });

    it('gets a layer of its own, held to what policy grants', () => {
      expect(layerWanted(volume, { readonly: false, terms: TERMS })).to.deep.equal({ bytes: undefined });
      const terms = { ...TERMS, parts: [{ options: [], sizeLimit: 5 }] };
      expect(layerWanted(volume, { readonly: false, terms })).to.deep.equal({ bytes: 5 });
      const plan = planPublish(volume, { ...PUBLICATION, group: 7 }, LAYER);
      const mount = theMount(plan.is === 'mounts' ? plan.mounts : []);
      expect(mount.options).to.include.members([`upperdir=${LAYER.upperdir}`, `workdir=${LAYER.workdir}`]);
      // The group is that of the layer's root, which is what is seen.
      expect(valuesOf(mount, 'rootgid')).to.be.empty;
      expect(planned(mount)).to.not.be.empty;
    });

    it('gets none where it is only read', () => {
      expect(layerWanted(volume, { readonly: true, terms: TERMS })).to.equal(undefined);
      const mount = theMount(mountsOf(volume, { readonly: true }));
      expect(mount.options).to.include('ro');
      expect(valuesOf(mount, 'upperdir')).to.be.empty;
    });

    it('is alone in that', () => {
      for (const name of NAMES.filter((other) => other !== 'ephemeral overlay')) {
        expect(layerWanted(volumeOf(name), { readonly: false, terms: TERMS }), name).to.equal(undefined);
      }
    });
  });
});

describe('a block device', () => {
  it('is the image itself', () => {
    const device = { is: 'device', image: '/srv/a.img' };
    expect(publish(blockVolume())).to.deep.equal({ ...device, readOnly: false });
    expect(publish(blockVolume(), { readonly: true })).to.deep.equal({ ...device, readOnly: true });
    expect(publish(blockVolume(), { readOnlyMode: true })).to.deep.equal({ ...device, readOnly: true });
  });
});

/** The volume itself, the pod's ids known. */
const later = (volume: Volume, more: Partial<Publication> = {}, layer?: typeof LAYER) =>
  theMount(planMounts(volume, { ...PUBLICATION, ...more }, { layer, podMapping: POD }));

describe('a nested publish', () => {
  it('is for what no runtime can map, and asked for with idmap: pod', () => {
    expect(NAMES.filter((name) => isNested(volumeOf(name)))).to.deep.equal(NESTED);
  });

  for (const name of NESTED) {
    const nestedDir = name.startsWith('fuse') ? 'files' : 'data';
    it(`${name}: a tiny tmpfs that cannot be written, with the directory ${nestedDir}`, () => {
      const plan = publish(volumeOf(name), { cover: 'nested' });
      if (plan.is !== 'nested') throw new Error(plan.is);
      expect(plan.nestedDir).to.equal(nestedDir);
      const { type, options } = plan.cover;
      expect(type).to.equal('tmpfs');
      expect(options).to.include.members(['ro', `mkdir=${nestedDir}`, 'size=64k']);
      // No container would start on it.
      expect(options).to.not.include.oneOf(['nosuid', 'nodev', 'noexec']);
      // What is mounted below it later must reach the container.
      expect(options.filter((option) => /private|slave|unbindable|unpeered/.test(option))).to.be.empty;
    });

    it(`${name}: completed as it is for a pod on the host`, () => {
      const mount = theMount(planMounts(volumeOf(name), PUBLICATION));
      expect(mount.options.join()).to.not.match(/map=|idmapupper/);
      expect([mount]).to.deep.equal(planStage(volumeOf(UNNESTED[name] ?? name), STAGING).mounts);
    });

    it(`${name}: read-only where the request or the access mode says so`, () => {
      for (const more of [{ readonly: true }, { readOnlyMode: true }]) {
        expect(later(volumeOf(name), more).options.at(-1)).to.equal('ro');
      }
    });
  }

  for (const name of NESTED.filter((one) => one !== 'fuse, idmap: pod')) {
    it(`${name}: completed with the ids of the pod`, () => {
      const mount = later(volumeOf(name));
      // And root of the host as another.
      expect(valuesOf(mount, 'uidmap')).to.deep.equal(['0:65536:65536,4294967294:0:1']);
      expect(valuesOf(mount, 'gidmap')).to.deep.equal(['0:131072:65536,4294967294:0:1']);
      expect(mount.options).to.not.include('ro');
      expect(planned(mount)).to.not.be.empty;
    });
  }

  it('fuse, idmap: pod: completed with the ids of the pod, in the words of its helper', () => {
    const mount = (type: string) => later(volumeOf('fuse, idmap: pod', { type }));
    expect(mount('fuse.bindfs').options).to.include.members(['uid-offset=65536', 'gid-offset=131072']);
    expect(mount('fuse3.fuse-overlayfs').options).to.include('uidmapping=0:65536:65536');
    // One that has none shows the ids that it gives: the kernel can map few, and a volume is better than none.
    expect(mount('fuse.unheard-of').options.join()).to.not.match(/65536/);
    for (const type of ['fuse.bindfs', 'fuse3.sshfs', 'fuse.unheard-of']) {
      expect(valuesOf(mount(type), 'uidmap'), type).to.deep.equal([]);
      expect(planned(mount(type)), type).to.not.be.empty;
    }
  });

  it('a group is shown as the pod counts', () => {
    const group = (name: Name) => valuesOf(later(volumeOf(name), { group: 7 }), 'rootgid');
    expect(group('overlay, idmap: pod')).to.deep.equal(['131079']);
    expect(group('persistent overlay, idmap: pod')).to.deep.equal([]);
    expect(group('fuse, idmap: pod')).to.deep.equal([]);
  });

  it('what the pod wrote stays with the ids that are on disk, in a persistent layer', () => {
    const options = (name: Name, layer?: typeof LAYER) =>
      later(volumeOf(name, layer && { writable: 'ephemeral' }), {}, layer).options;
    expect(options('persistent overlay, idmap: pod')).to.include('idmapupper');
    // An ephemeral one is made with the ids that the pod has.
    expect(options('overlay, idmap: pod', LAYER)).to.not.include('idmapupper');
    expect(options('overlay, idmap: pod')).to.not.include('idmapupper');
  });
});

describe('read-only that would not reach the container', () => {
  const byOption = volumeOf('bind', { options: 'ro' });
  const byFlag = volumeOf('bind', {}, { mountFlags: ['ro'] });
  for (const [how, volume] of Object.entries({ byOption, byFlag })) {
    for (const stagingPath of ['/staging', undefined]) {
      it(`ro on a bind, ${how}, ${stagingPath ? 'staged' : 'inline'}: refused, unless the request is read-only`, () => {
        expect(() => publish(volume, { stagingPath }))
          .to.throw(VolumeError, /^options: ro on a bind does not reach the container.*readOnly: true/)
          .with.property('field', 'options');
        expect(mountsOf(volume, { stagingPath, readonly: true })).to.have.length(1);
      });
    }
  }

  it('ro on a bind among several mounts: refused too', () => {
    const volume = volumeOf('mounts', { mounts: '[{"source":"/srv","options":"ro"}]' });
    expect(() => publish(volume)).to.throw(VolumeError, /^options: ro on a bind/);
  });

  it('ro on a bind is no matter at stage: the request does not say yet how it will be published', () => {
    expect(planStage(byOption, STAGING).mounts).to.be.empty;
  });

  it('ro is no concern of what has a superblock of its own', () => {
    for (const name of [
      'tmpfs',
      'read-only overlay',
      'persistent overlay',
      'image',
      'device',
      'fuse',
    ] as const) {
      expect(mountsOf(volumeOf(name, { options: 'ro' })), name).to.have.length(1);
    }
  });

  const writable: readonly Name[] = [
    ...(['bind', 'tmpfs', 'mounts', 'persistent overlay', 'ephemeral overlay'] as const),
    'persistent overlay, idmap: pod',
  ];
  for (const name of writable) {
    it(`${name}, access mode of readers: refused, unless the request is read-only`, () => {
      expect(() => publish(volumeOf(name), { readOnlyMode: true }))
        .to.throw(VolumeError, /^access_mode: of readers only.*readOnly: true/)
        .with.property('field', 'access_mode');
      expect(() => publish(volumeOf(name), { readOnlyMode: true, readonly: true })).to.not.throw();
    });
  }

  it('an access mode of readers holds where the superblock is read-only', () => {
    for (const name of ['read-only overlay', 'image', 'device', 'fuse', 'overlay, idmap: pod'] as const) {
      expect(() => publish(volumeOf(name), { readOnlyMode: true }), name).to.not.throw();
    }
  });
});

describe('a placeholder', () => {
  /** With ids that the pod has, where it has any of its own. */
  const inPod = (name: Name) =>
    volumeOf(name, /mapped/.test(name) ? { uidmap: '0:1000:10', gidmap: '0:1000:10' } : {});
  const shownBy = (name: Name) => (/mapped/.test(name) ? /^0:66536:10,/ : /^0:65536:65536,/);

  it('is an overlay of nothing, by a name of its own, and is written to by nobody', () => {
    const mount = placeholderOf('/state/a:b');
    expect(mount).to.include({ type: 'overlay', source: PLACEHOLDER });
    expect(mount.options).to.deep.equal(['lowerdir=/state/a\\:b']);
    expect(planned(mount)).to.not.be.empty;
  });

  it('is what publish plans where it is asked for, with the same refusals', () => {
    for (const name of NAMES.filter((one) => one !== 'ephemeral overlay')) {
      expect(publish(volumeOf(name), { cover: 'placeholder' }), name).to.deep.equal({ is: 'placeholder' });
    }
    const cover = { cover: 'placeholder' } as const;
    expect(() => publish(volumeOf('bind', { options: 'ro' }), cover)).to.throw(VolumeError, /^options: ro/);
    expect(publish(blockVolume(), cover)).to.include({ is: 'device' });
  });

  const views = [
    'bind',
    'bind, mapped',
    'bind with an owner',
    'tmpfs',
    'image',
    'new image',
    'device',
  ] as const;
  for (const name of views) {
    it(`${name}: becomes a view of what is staged, or of the source, with its own ids and then the pod's`, () => {
      const mount = later(inPod(name), { group: 7 });
      const source = name.startsWith('bind') ? '/srv' : '/staging';
      expect(mount).to.include({ type: 'bind', source });
      expect(valuesOf(mount, 'uidmap')[0]).to.match(shownBy(name));
      expect(valuesOf(mount, 'rootgid')).to.deep.equal(['131079']);
      const owner = name === 'bind with an owner' ? ['66536'] : [];
      expect(valuesOf(mount, 'rootuid')).to.deep.equal(owner);
      expect(planned(mount)).to.not.be.empty;
    });
  }

  for (const name of ['read-only overlay', 'read-only overlay, mapped', 'ephemeral overlay'] as const) {
    it(`${name}: becomes one of the pod's own, whatever is staged`, () => {
      const layer = name === 'ephemeral overlay' ? LAYER : undefined;
      const mount = later(inPod(name), {}, layer);
      expect(mount.type).to.equal('overlay');
      expect(valuesOf(mount, 'uidmap')[0]).to.match(shownBy(name));
      expect(planned(mount)).to.not.be.empty;
    });
  }

  it('fuse: becomes one of its own, in the words of its helper', () => {
    const mount = later(volumeOf('fuse'));
    expect(mount.type).to.equal('fuse.bindfs');
    expect(mount.options).to.include('uid-offset=65536');
  });

  it('inline volumes are made as they are for others, and mapped besides', () => {
    const mount = later(volumeOf('tmpfs', INLINE), { stagingPath: undefined });
    expect(mount.type).to.equal('tmpfs');
    expect(valuesOf(mount, 'uidmap')).to.deep.equal(['0:65536:65536,4294967294:0:1']);
  });

  it('is not for what is mounted once for all pods, with ids that cannot be mapped again', () => {
    const not = NAMES.filter((name) => !canBeMappedLater(volumeOf(name)));
    expect(not).to.deep.equal(['persistent overlay', 'persistent overlay, mapped', 'mounts']);
    expect(canBeMappedLater(volumeOf('persistent overlay', INLINE))).to.equal(true);
  });
});
