// Loop devices: one per image, as asked for, and gone when they are no longer used.
import { execFileSync } from 'node:child_process';
import { chmodSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { MountError } from '../../../src/mount/errors.ts';
import { freeLoop } from '../../../src/mount/loop/bind.ts';
import { openImage } from '../../../src/mount/loop/image.ts';
import { lockImage } from '../../../src/mount/loop/lock.ts';
import { attachLoop, detachLoop, type LoopOptions, loopDevicesOf } from '../../../src/mount/loop.ts';
import { mountCommand, mountPlace, temporaryDirectory, unmountCommand } from '../../support/fixtures.ts';
import { expectNoLoops, sparseFile } from '../../support/images.ts';
import { needRoot, needTool } from '../../support/need.ts';

const MIB = 2 ** 20;

/** What sysfs shows of the device: not what the library says. */
function shown(device: string) {
  const read = (name: string) => readFileSync(`/sys/block/${device.slice(5)}/${name}`, 'utf8').trim();
  return {
    file: read('loop/backing_file'),
    autoclear: read('loop/autoclear') === '1',
    readOnly: read('ro') === '1',
    directIo: read('loop/dio') === '1',
    bytes: Number(read('size')) * 512,
    offset: Number(read('loop/offset')),
    blockSize: Number(read('queue/logical_block_size')),
  };
}

function refusal(call: () => unknown): { reason: string; message: string } {
  try {
    call();
  } catch (error) {
    if (error instanceof MountError) return { reason: error.reason, message: error.message };
    throw error;
  }
  throw new Error('it was not refused');
}

describe('a loop device', () => {
  before(function () {
    needRoot(this, 'loop devices take CAP_SYS_ADMIN');
  });

  const plain = { autoclear: true, readOnly: false, directIo: false, bytes: MIB, offset: 0, blockSize: 512 };
  const rows: readonly [title: string, options: LoopOptions, is: object][] = [
    ['as it is', {}, {}],
    ['read-only', { readOnly: true }, { readOnly: true }],
    ['at an offset', { offset: 4096 }, { offset: 4096, bytes: MIB - 4096 }],
    ['of a part', { offset: 512, sizeLimit: 8192 }, { offset: 512, bytes: 8192 }],
    ['with large blocks', { blockSize: 4096 }, { blockSize: 4096 }],
    ['with direct I/O', { directIo: true, blockSize: 4096 }, { directIo: true, blockSize: 4096 }],
    [
      'read-only, with direct I/O',
      { directIo: true, readOnly: true, blockSize: 4096 },
      { directIo: true, readOnly: true, blockSize: 4096 },
    ],
  ];
  for (const stepwise of [false, true]) {
    describe(stepwise ? 'by LOOP_SET_FD and LOOP_SET_STATUS64' : 'by LOOP_CONFIGURE', () => {
      for (const [title, options, is] of rows) {
        it(`shows a file ${title}`, () => {
          using directory = temporaryDirectory();
          const file = directory.at('image');
          sparseFile(file, MIB);
          {
            using device = attachLoop(file, { ...options, stepwise });
            expect(shown(device.path)).to.deep.equal({ ...plain, file, ...is });
            expect(device).to.include({ reused: false, readOnly: false, directIo: false, ...only(is) });
          }
          expectNoLoops(file);
        });
      }

      it('that cannot be as asked leaves nothing', () => {
        using directory = temporaryDirectory();
        sparseFile(directory.at('image'), MIB);
        expect(() => attachLoop(directory.at('image'), { blockSize: 77, stepwise })).to.throw('EINVAL');
        expectNoLoops(directory.at('image'));
      });

      it('does without direct I/O at an offset between blocks, and says so', () => {
        using directory = temporaryDirectory();
        sparseFile(directory.at('image'), MIB);
        using device = attachLoop(directory.at('image'), { directIo: true, offset: 100, stepwise });
        expect(device.directIo).to.equal(false);
      });
    });
  }

  /** The properties that a LoopDevice has too. */
  function only(is: object): object {
    return Object.fromEntries(Object.entries(is).filter(([key]) => key === 'readOnly' || key === 'directIo'));
  }

  it('is the same for all who want the same, by any name of the file', () => {
    using directory = temporaryDirectory();
    sparseFile(directory.at('image'), MIB);
    using first = attachLoop(directory.at('image'));
    renameSync(directory.at('image'), directory.at('renamed'));
    using second = attachLoop(directory.at('renamed'));
    expect([second.path, second.reused]).to.deep.equal([first.path, true]);
    // The old name is another file's now.
    sparseFile(directory.at('image'), MIB);
    using other = attachLoop(directory.at('image'));
    expect(other.path).to.not.equal(first.path);
  });

  it('stays while one of them has it', () => {
    using directory = temporaryDirectory();
    sparseFile(directory.at('image'), MIB);
    const first = attachLoop(directory.at('image'));
    {
      using _second = attachLoop(directory.at('image'));
      first[Symbol.dispose]();
      expect(loopDevicesOf(directory.at('image'))).to.deep.equal([first.path]);
    }
    expectNoLoops(directory.at('image'));
  });

  it('is refused to those who want it otherwise', () => {
    using directory = temporaryDirectory();
    const file = directory.at('image');
    sparseFile(file, MIB);
    using _device = attachLoop(file, { readOnly: true });
    for (const options of [{}, { readOnly: true, offset: 512 }, { readOnly: true, autoclear: false }]) {
      expect(refusal(() => attachLoop(file, options)).reason).to.equal('image-in-use');
    }
  });

  it('is another one for another part', () => {
    using directory = temporaryDirectory();
    sparseFile(directory.at('image'), MIB);
    using first = attachLoop(directory.at('image'), { sizeLimit: 4096 });
    using second = attachLoop(directory.at('image'), { offset: 4096, sizeLimit: 4096 });
    expect(loopDevicesOf(directory.at('image'))).to.have.members([first.path, second.path]);
  });

  it('of one sector is found again; of less there is none, which the list of devices would not show', () => {
    using place = temporaryDirectory();
    const image = place.at('image');
    writeFileSync(image, Buffer.alloc(1024));
    const parts: readonly [options: LoopOptions, refused: boolean][] = [
      [{ sizeLimit: 512 }, false],
      [{ offset: 512 }, false],
      [{ sizeLimit: 511 }, true],
      [{ offset: 513 }, true],
    ];
    for (const [options, isRefused] of parts) {
      if (isRefused) {
        expect(refusal(() => attachLoop(image, options)).reason).to.equal('bad-image');
      } else {
        using device = attachLoop(image, options);
        using again = attachLoop(image, options);
        expect([again.reused, again.path]).to.deep.equal([true, device.path]);
      }
    }
    expectNoLoops(image);
  });

  it('that was attached to stay is detached by what was recorded, and only that', () => {
    using directory = temporaryDirectory();
    sparseFile(directory.at('image'), MIB);
    const { number, image, path } = attached();
    expect(shown(path).autoclear).to.equal(false);
    expect(detachLoop(number, { ...image, inode: image.inode + 1n })).to.equal(false);
    expect(loopDevicesOf(directory.at('image'))).to.deep.equal([path]);
    expect(detachLoop(number, image)).to.equal(true);
    expectNoLoops(directory.at('image'));
    expect(detachLoop(number, image)).to.equal(false);
    expectNoLoops(directory.at('image'));

    function attached() {
      using device = attachLoop(directory.at('image'), { autoclear: false });
      return device;
    }
  });

  it('of somebody else is left to them', function () {
    needTool(this, 'losetup', 'somebody else attaches the image with it');
    using directory = temporaryDirectory();
    sparseFile(directory.at('image'), MIB);
    const path = execFileSync('losetup', ['--find', '--show', directory.at('image')], {
      encoding: 'utf8',
    }).trim();
    try {
      const { reason, message } = refusal(() => attachLoop(directory.at('image')));
      expect(reason).to.equal('image-in-use');
      expect(message).to.include(`losetup -d ${path}`);
      expect(loopDevicesOf(directory.at('image'))).to.deep.equal([path]);
    } finally {
      execFileSync('losetup', ['--detach', path]);
    }
  });

  it('is not made for a file that cannot be written, unless read-only', () => {
    using place = mountPlace();
    sparseFile(place.at('image'), MIB);
    mountCommand('--bind', place.at('image'), place.at('image'));
    mountCommand('-o', 'remount,bind,ro', place.at('image'));
    try {
      const { reason, message } = refusal(() => attachLoop(place.at('image')));
      expect({ reason, message }).to.deep.equal({
        reason: 'not-writable',
        message: `the image ${place.at('image')} cannot be written to (EROFS); add the option ro`,
      });
      using device = attachLoop(place.at('image'), { readOnly: true });
      expect(shown(device.path).readOnly).to.equal(true);
    } finally {
      unmountCommand(place.at('image'));
    }
  });

  const wrong: readonly [title: string, path: string, options: LoopOptions, reason: string][] = [
    ['what is not there', 'missing', {}, 'source-not-found'],
    ['what is below a file', 'image/below', {}, 'source-not-found'],
    ['a directory', '', {}, 'invalid-mount'],
    ['a FIFO', 'fifo', {}, 'invalid-mount'],
    ['what begins behind the end', 'image', { offset: MIB }, 'invalid-mount'],
    ['what ends behind the end', 'image', { offset: 512, sizeLimit: MIB }, 'invalid-mount'],
  ];
  for (const [title, path, options, reason] of wrong) {
    it(`is not made for ${title}`, () => {
      using directory = temporaryDirectory();
      sparseFile(directory.at('image'), MIB);
      execFileSync('mkfifo', [directory.at('fifo')]);
      expect(refusal(() => attachLoop(directory.at(path), options)).reason).to.equal(reason);
    });
  }

  it('waits for the lock of an image, and does not keep it', () => {
    using directory = temporaryDirectory();
    sparseFile(directory.at('image'), MIB);
    using _device = attachLoop(directory.at('image'));
    using image = openImage(directory.at('image'));
    // Attached, it is not locked: the driver holds a file of its own.
    using _lock = lockImage(image, 'image');
    const { reason, message } = refusal(() => attachLoop(directory.at('image'), { patienceMs: 100 }));
    expect(reason).to.equal('image-in-use');
    expect(message).to.include('holds a lock (flock)');
  });

  it('keeps the file when that is deleted', () => {
    using directory = temporaryDirectory();
    sparseFile(directory.at('image'), MIB);
    using device = attachLoop(directory.at('image'));
    unlinkSync(directory.at('image'));
    writeFileSync(device.path, 'still there');
    expect(shown(device.path).file).to.equal(`${directory.at('image')} (deleted)`);
  });

  it('is none where the kernel can make no more, which is said with what to do', () => {
    using directory = temporaryDirectory();
    sparseFile(directory.at('image'), MIB);
    using device = attachLoop(directory.at('image'));
    // 2^20 of them take more memory than a machine has. A device answers what only /dev/loop-control is asked by the same
    // errno, which is what that was seen to say when all were taken (Linux 6.12, loop.max_part=255: 4,096 of them).
    const { reason, message } = refusal(() => freeLoop(device.fd));
    expect(reason).to.equal('node-exhausted');
    expect(message).to.match(/LOOP_CTL_GET_FREE.* = EINVAL: all the loop devices .*\(losetup --list\)$/);
  });

  it('gets its node made where /dev has none', () => {
    using directory = temporaryDirectory();
    sparseFile(directory.at('image'), MIB);
    const before = attachLoop(directory.at('image'), { autoclear: false });
    const { mode, rdev } = statSync(before.path);
    before[Symbol.dispose]();
    unlinkSync(before.path);
    try {
      using again = attachLoop(directory.at('image'), { autoclear: false });
      expect(again.path).to.equal(before.path);
      expect(statSync(again.path).rdev).to.equal(rdev);
    } finally {
      detachLoop(before.number, before.image);
      chmodSync(before.path, mode & 0o777);
    }
  });
});
