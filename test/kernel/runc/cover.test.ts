// What a nested publish puts at the target at first, in the container of a pod with hostUsers: false: it starts, and
// until the volume is there nobody writes into its place.
import { expect } from 'chai';
import { planPublish } from '../../../src/volume/publish.ts';
import { mountPlace } from '../../support/fixtures.ts';
import { needMappedTmpfs } from '../../support/need.ts';
import { PUBLICATION, volumeOf } from '../../unit/volume/volumes.ts';
import { can, describeContainers, MAPPING } from './containers.ts';

describeContainers('the cover of a nested volume, in a container', ({ mounted, run }) => {
  const plan = planPublish(volumeOf('overlay, idmap: pod'), { ...PUBLICATION, cover: 'nested' });
  if (plan.is !== 'nested') throw new Error(plan.is);
  const { cover } = plan;

  for (const readOnly of [false, true]) {
    it(`hostUsers: false, ${readOnly ? '' : 'not '}readOnly in the pod: starts, with an empty directory`, async function () {
      needMappedTmpfs(this);
      using place = mountPlace();
      await using _cover = await mounted(cover, place.at('v'));
      const volumes = [{ source: place.at('v'), destination: '/v', readOnly }];
      const script = ['ls /v', can('touch /v/new'), can('touch /v/data/new')].join('\n');
      const [listed, ...attempts] = (await run({ mapping: MAPPING, volumes, script })).split('\n');
      expect(listed).to.equal('data');
      expect(attempts.filter((line) => line.endsWith('possible'))).to.deep.equal([
        'impossible',
        'impossible',
      ]);
      expect(attempts.filter((line) => line.includes('Read-only file system'))).to.have.length(2);
    });
  }

  it('hostUsers: false, with nosuid on it: does not start, so that publish leaves such flags out', async function () {
    needMappedTmpfs(this);
    using place = mountPlace();
    await using _cover = await mounted({ ...cover, options: [...cover.options, 'nosuid'] }, place.at('v'));
    const volumes = [{ source: place.at('v'), destination: '/v' }];
    expect(await run({ mapping: MAPPING, volumes, script: 'true' })).to.match(
      /^does not start: .*cannot clear locked flags MS_RDONLY/,
    );
  });
});
