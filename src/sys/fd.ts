// A file descriptor with one owner. `using fd = ...` closes it at the end of the block; `release()` hands it
// on, visibly. Closing twice, or using a closed one, is a bug here and throws rather than hitting whatever
// descriptor has the number by then.
import { closeSync, readlinkSync } from 'node:fs';

/** The number of an open file descriptor, as the kernel counts them. */
export type FdNumber = number & { readonly __brand: 'FdNumber' };

export class Fd implements Disposable {
  #number: FdNumber | undefined;

  constructor(number: number) {
    this.#number = number as FdNumber;
  }

  /** The number, while open. */
  get number(): FdNumber {
    if (this.#number === undefined) throw new Error('this file descriptor is closed or has been handed on');
    return this.#number;
  }

  get isOpen(): boolean {
    return this.#number !== undefined;
  }

  /** Gives the number up: whoever calls this closes it. */
  release(): FdNumber {
    const number = this.number;
    this.#number = undefined;
    return number;
  }

  [Symbol.dispose](): void {
    if (this.#number !== undefined) closeSync(this.release());
  }

  /** As strace shows it: `7</var/lib/data>`. Reads a link of /proc, never the filesystem behind the fd. */
  toString(): string {
    return this.#number === undefined ? '<closed fd>' : describeFd(this.#number);
  }
}

export function describeFd(number: number): string {
  try {
    return `${number}<${readlinkSync(`/proc/self/fd/${number}`)}>`;
  } catch {
    return `${number}`;
  }
}
