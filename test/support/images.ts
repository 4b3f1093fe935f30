// Filesystem images for tests, made by the tools of each filesystem.
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { loopDevicesOf } from '../../src/mount/loop.ts';
import { needTool } from './need.ts';
import { scaled } from './time-scale.ts';

interface ImageKind {
  readonly tool: string;
  readonly writable: boolean;
  /** With the files of `content`, where the tool can do that. */
  readonly make: (path: string, content: string) => void;
}

const MIB = 2 ** 20;

export const IMAGES = {
  ext4: {
    tool: 'mkfs.ext4',
    writable: true,
    make: (path, content) => {
      sparseFile(path, 8 * MIB);
      run('mkfs.ext4', '-q', '-d', content, path);
    },
  },
  xfs: {
    tool: 'mkfs.xfs',
    writable: true,
    make: (path) => {
      sparseFile(path, 300 * MIB);
      run('mkfs.xfs', '-q', path);
    },
  },
  btrfs: {
    tool: 'mkfs.btrfs',
    writable: true,
    make: (path, content) => {
      sparseFile(path, 120 * MIB);
      run('mkfs.btrfs', '-q', '--rootdir', content, path);
    },
  },
  squashfs: {
    tool: 'mksquashfs',
    writable: false,
    make: (path, content) => run('mksquashfs', content, path, '-quiet', '-no-progress'),
  },
  erofs: {
    tool: 'mkfs.erofs',
    writable: false,
    make: (path, content) => run('mkfs.erofs', '--quiet', path, content),
  },
} as const satisfies Readonly<Record<string, ImageKind>>;

export type ImageType = keyof typeof IMAGES;
export const IMAGE_TYPES = Object.keys(IMAGES) as ImageType[];

/** Makes an image, or skips the test where its tool is missing. @returns its path */
export function makeImage(context: Mocha.Context, type: ImageType, path: string, content: string): string {
  needTool(context, IMAGES[type].tool, `${type} images are made with it`);
  IMAGES[type].make(path, content);
  return path;
}

/** The smallest ext4 that there is: for many of them. */
export function makeTinyImage(context: Mocha.Context, path: string): string {
  needTool(context, 'mkfs.ext4', 'ext4 images are made with it');
  sparseFile(path, MIB / 4);
  run('mkfs.ext4', '-q', '-b', '1024', '-O', '^has_journal', path);
  return path;
}

/** A file of zeroes that takes no space. */
export function sparseFile(path: string, bytes: number): void {
  const file = openSync(path, 'w');
  ftruncateSync(file, bytes);
  closeSync(file);
}

/** Puts the bytes of one file into another, at an offset. */
export function embed(image: string, into: string, offset: number): void {
  run('dd', `if=${image}`, `of=${into}`, 'bs=4096', `seek=${offset}`, 'oflag=seek_bytes', 'conv=notrunc');
}

export function copyImage(from: string, to: string): string {
  // What is a hole stays one, where copyFile() would write zeroes.
  run('cp', '--sparse=always', from, to);
  return to;
}

const RELEASE_MS = scaled(30_000);

/** The file has no loop device. One that another job looks at, in search of its own, is there for that long still. */
export function expectNoLoops(path: string): void {
  const deadline = performance.now() + RELEASE_MS;
  const never = new Int32Array(new SharedArrayBuffer(4));
  while (loopDevicesOf(path).length > 0 && performance.now() < deadline) Atomics.wait(never, 0, 0, 10);
  expect(loopDevicesOf(path)).to.deep.equal([]);
}

/** Bytes that are no filesystem. */
export function garbageFile(path: string): string {
  writeFileSync(path, Buffer.alloc(MIB, 'garbage '));
  return path;
}

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
