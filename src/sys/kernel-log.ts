// What the kernel prints while something is done. Filesystems that were not made for fsopen(2) explain a refused
// mount in the kernel log only (`EXT4-fs (loop3): VFS: Can't find ext4 filesystem`), and errno is EINVAL for all.
import { readSync } from 'node:fs';
import { AT_FDCWD, O, SEEK_END } from './constants.ts';
import { hasErrno } from './errors.ts';
import type { Fd } from './fd.ts';
import { lseek, openat } from './syscalls.ts';

export interface KernelLog {
  /** The messages since it was begun that name this device (`loop3`), without repetitions. */
  about(name: string): string[];
}

/** A record is at most this long (PRINTK_MESSAGE_MAX, kernel/printk/internal.h). */
const RECORD_BYTES = 8192;

/** Open as long as this thread: the kernel goes through its log for each open(2), 80 us on a node that has run for long. */
let opened: Fd | undefined;

/**
 * From now on, until the next one is begun. Says nothing where this process may not read /dev/kmsg: the log is a help,
 * not a need.
 */
export function kernelLogFromNow(): KernelLog {
  let log: Fd;
  try {
    opened ??= openat(AT_FDCWD, '/dev/kmsg', O.O_NONBLOCK);
    log = opened;
    lseek(log, 0, SEEK_END);
  } catch {
    return { about: () => [] };
  }
  return { about: (device) => [...new Set(records(log).filter((message) => names(message, device)))] };
}

const names = (message: string, device: string): boolean => message.split(/[^\w-]+/).includes(device);

function records(log: Fd): string[] {
  const buffer = Buffer.alloc(RECORD_BYTES);
  const found: string[] = [];
  for (;;) {
    try {
      const length = readSync(log.number, buffer);
      found.push(messageOf(buffer.toString('utf8', 0, length)));
    } catch (error) {
      // EPIPE: records were overwritten before we read them; the next read goes on behind the gap.
      if (hasErrno(error, 'EPIPE')) continue;
      return found;
    }
  }
}

/** `6,339,5140900,-;NET: Registered\n SUBSYSTEM=...`: what stands between the semicolon and the line's end. */
export function messageOf(record: string): string {
  const [line = ''] = record.split('\n');
  return line.slice(line.indexOf(';') + 1);
}
