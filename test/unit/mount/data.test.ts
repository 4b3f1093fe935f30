// Options as the text that mount(2) takes.
import { expect } from 'chai';
import { dataOf } from '../../../src/mount/data.ts';
import { MountError } from '../../../src/mount/errors.ts';

const LABEL = 'system_u:object_r:container_file_t:s0:c1,c2';

describe('the data of mount(2)', () => {
  const texts: readonly [type: string, options: readonly string[], text: string][] = [
    ['tmpfs', ['size=1m', 'mode=0700'], 'size=1m,mode=0700'],
    ['tmpfs', ['mpol=bind:0,2-3', 'size=1m'], 'mpol=bind:0,2-3,size=1m'],
    ['tmpfs', ['context=a:b:c:s0'], 'context=a:b:c:s0'],
    ['tmpfs', [`context=${LABEL}`, 'size=1m'], `context="${LABEL}",size=1m`],
    ['ext4', [`fscontext=${LABEL}`, `defcontext=${LABEL}`], `fscontext="${LABEL}",defcontext="${LABEL}"`],
    ['overlay', ['lowerdir=/a:/b,c', `rootcontext=${LABEL}`], `lowerdir=/a:/b\\,c,rootcontext="${LABEL}"`],
    ['overlay', ['lowerdir=/a\\,b\\:c,d', 'xino=off'], 'lowerdir=/a\\,b\\:c\\,d,xino=off'],
  ];
  for (const [type, options, text] of texts) {
    it(`of ${type} with ${options.join(' and ')}`, () => expect(dataOf(type, options)).to.equal(text));
  }

  const refused: readonly [type: string, option: string, why: RegExp][] = [
    ['tmpfs', 'size=1m,mode=4777', /"size=1m,mode=4777".*comma.*tmpfs/],
    ['ext4', 'nodelalloc,nobarrier', /comma.*ext4/],
    ['tmpfs', 'context=a",mode=4777,b="', /quotation mark/],
  ];
  for (const [type, option, why] of refused) {
    it(`is refused of ${type} with ${option}`, () => {
      expect(() => dataOf(type, [option]))
        .to.throw(MountError, why)
        .that.includes({ reason: 'invalid-mount', rolledBack: true });
    });
  }
});
