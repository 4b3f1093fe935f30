// HOST:PORT of an HTTP server, as flags have it.
import { isIPv6 } from 'node:net';

export interface HttpAddress {
  /** A name or an address; empty for all of the machine. */
  readonly host: string;
  /** 0: one that is free. */
  readonly port: number;
}

/**
 * `127.0.0.1:9810`, `[::1]:9810`, `:9810` for all addresses; nothing for none. An IPv6 address without brackets will do:
 * Kubernetes puts one so in place of `$(HOST_IP)`, and what stands behind the last colon is always the port.
 * @throws Error saying what is allowed
 */
export function parseAddress(text: string): HttpAddress | undefined {
  if (text === '') return undefined;
  const [, bracketed, bare = '', digits] = /^(?:\[([^\]]*)\]|([^[\]\s]*)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  const ipv6 = bracketed ?? (bare.includes(':') ? bare : undefined);
  const name = bare;
  if (!(port <= 65_535) || (ipv6 !== undefined && !isIPv6(ipv6))) {
    throw new Error('must be HOST:PORT, such as 127.0.0.1:9810, [::1]:9810 or :9810, or empty for none');
  }
  return { host: ipv6 ?? name, port };
}

export function formatAddress({ host, port }: HttpAddress): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}
