// What is wrong with a volume context, by the key that it is about, whatever an author called that.
import { expect } from 'chai';
import { VolumeError } from '../../../src/volume/errors.ts';

describe('an error about a volume context', () => {
  const rows: readonly (readonly [field: string, shown: string])[] = [
    ['source', 'source'],
    ['mounts[1].lowerdir', 'mounts[1].lowerdir'],
    ['csi.storage.k8s.io/pod.uid', 'csi.storage.k8s.io/pod.uid'],
    ['', '""'],
    ['source ', '"source "'],
    ['source\nlevel=info', '"source\\nlevel=info"'],
    ['x'.repeat(201), `"${'x'.repeat(100)}"`],
  ];
  for (const [field, shown] of rows) {
    it(`names ${JSON.stringify(field.slice(0, 20))} so that it is one word`, () => {
      const error = new VolumeError(field, 'is wrong');
      expect(error.message).to.equal(`${shown}: is wrong`);
      expect(error.field).to.equal(field);
    });
  }
});
