// Kubelet's record as a file: found where it belongs, and nowhere else.
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { type RecordedPod, readPodRecord } from '../../../src/userns/pod-record.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/fixtures.ts';
import { needTool } from '../../support/need.ts';
import { MAPPED, OTHER_RECORD, RECORD, UID } from './kubelet.ts';

describe('readPodRecord', () => {
  function pod(): { place: TemporaryDirectory; pod: RecordedPod; file: string } & Disposable {
    const place = temporaryDirectory();
    mkdirSync(place.at('kubelet', 'pods', UID), { recursive: true });
    return {
      place,
      pod: { kubeletDir: place.at('kubelet'), podUid: UID },
      file: place.at('kubelet', 'pods', UID, 'userns'),
      [Symbol.dispose]: () => place[Symbol.dispose](),
    };
  }

  it('finds the mapping', () => {
    using at = pod();
    writeFileSync(at.file, RECORD);
    expect(readPodRecord(at.pod)).to.deep.equal(MAPPED);
  });

  it('finds it where the kubelet directory is a link', () => {
    using at = pod();
    writeFileSync(at.file, RECORD);
    symlinkSync(at.pod.kubeletDir, at.place.at('link'));
    expect(readPodRecord({ ...at.pod, kubeletDir: at.place.at('link') })).to.deep.equal(MAPPED);
  });

  it('finds none before it is written, and none where there is no pod', () => {
    using at = pod();
    expect(readPodRecord(at.pod)).to.deep.equal({ is: 'none' });
    rmSync(at.place.at('kubelet', 'pods'), { recursive: true });
    expect(readPodRecord(at.pod)).to.deep.equal({ is: 'none' });
  });

  it('says what is wrong with one, and where', () => {
    using at = pod();
    writeFileSync(at.file, '{}');
    const because = `pods/${UID}/userns: the record has no uidMappings`;
    expect(readPodRecord(at.pod)).to.deep.equal({ is: 'invalid', because });
  });

  it('asks for no uid that is a path', () => {
    using at = pod();
    writeFileSync(at.place.at('kubelet', 'userns'), RECORD);
    const because = '".." is no uid of a pod';
    expect(readPodRecord({ ...at.pod, podUid: '..' })).to.deep.equal({ is: 'invalid', because });
  });

  it('follows no link, in place of the record, of the pod or of all pods', () => {
    using at = pod();
    const elsewhere = at.place.at('elsewhere');
    for (const path of [at.file, at.place.at('kubelet', 'pods', UID), at.place.at('kubelet', 'pods')]) {
      mkdirSync(at.place.at('kubelet', 'pods', UID), { recursive: true });
      writeFileSync(at.file, OTHER_RECORD);
      renameSync(path, elsewhere);
      symlinkSync(elsewhere, path);
      const read = readPodRecord(at.pod);
      expect(read.is, path).to.equal('invalid');
      rmSync(path);
      rmSync(elsewhere, { recursive: true });
    }
  });

  it('reads nothing but a file', function () {
    needTool(this, 'mkfifo', 'a file that keeps its reader waiting');
    using at = pod();
    const because = `pods/${UID}/userns is no regular file`;
    mkdirSync(at.file);
    expect(readPodRecord(at.pod)).to.deep.equal({ is: 'invalid', because });
    rmSync(at.file, { recursive: true });
    execFileSync('mkfifo', [at.file]);
    expect(readPodRecord(at.pod)).to.deep.equal({ is: 'invalid', because });
  });

  it('reads no more than a record can have', () => {
    using at = pod();
    writeFileSync(at.file, RECORD + ' '.repeat(4096 - RECORD.length));
    expect(readPodRecord(at.pod)).to.deep.equal(MAPPED);
    writeFileSync(at.file, RECORD + ' '.repeat(4097 - RECORD.length));
    const because = `pods/${UID}/userns is longer than 4096 bytes`;
    expect(readPodRecord(at.pod)).to.deep.equal({ is: 'invalid', because });
  });

  it('throws where there is no kubelet: that is not to say that there is no mapping', () => {
    using at = pod();
    const nowhere = { ...at.pod, kubeletDir: at.place.at('nowhere') };
    expect(() => readPodRecord(nowhere)).to.throw(/= ENOENT: the kubelet directory is not there; set it to/);
    writeFileSync(at.place.at('file'), '');
    const noDirectory = { ...at.pod, kubeletDir: at.place.at('file') };
    expect(() => readPodRecord(noDirectory)).to.throw(/= ENOTDIR: the kubelet directory is not there/);
  });
});
