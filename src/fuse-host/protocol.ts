// Which versions of the protocol (proto/fusehost.proto) this program speaks, on either side of the socket. fuse-host is
// older than the driver most of the time: it is only replaced when nothing is mounted through it, or someone says so.
//
//   version   since   has
//   1         0.1     Hello, Start, Stop, List, Output, Deaths
//
// A version is dropped when no driver that can be upgraded from speaks it any more.

export interface Protocols {
  readonly oldest: number;
  readonly newest: number;
}

export interface Side {
  /** Of the program. */
  readonly version: string;
  readonly protocols: Protocols | undefined;
}

export const PROTOCOLS: Protocols = { oldest: 1, newest: 1 };

/** The newest that both speak. */
export function commonProtocol(one: Protocols, other: Protocols): number | undefined {
  const newest = Math.min(one.newest, other.newest);
  return newest >= Math.max(one.oldest, other.oldest) ? newest : undefined;
}

/** @throws ProtocolError saying which side is to be replaced */
export function agreeOn({ driver, host }: { readonly driver: Side; readonly host: Side }): number {
  const none = { oldest: 0, newest: 0 };
  const [ours, theirs] = [driver.protocols ?? none, host.protocols ?? none];
  const common = commonProtocol(ours, theirs);
  if (common !== undefined) return common;
  const remedy =
    theirs.newest < ours.oldest
      ? 'replace the fuse-host: delete its pod when no FUSE volume is in use on the node'
      : 'upgrade the driver';
  throw new ProtocolError(
    `the driver (${driver.version}) and the fuse-host (${host.version}) do not understand each other: ` +
      `they speak protocol ${range(ours)} and ${range(theirs)}; ${remedy}`,
  );
}

export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
}

const range = ({ oldest, newest }: Protocols): string =>
  oldest === newest ? String(newest) : `${oldest} to ${newest}`;
