// Whether the container runtime of this node takes plugins by NRI, for `doctor`: asked by being one for a moment.
import { messageOf } from '../mount/errors.ts';
import { connectToRuntime } from '../nri/connection.ts';

export interface NriFinding {
  readonly socket: string;
  /** What `--user-namespaces auto` comes to here. */
  readonly way: 'nri' | 'nested';
  /** The runtime, or why there is none. */
  readonly because: string;
}

const TIMEOUT_MS = 3_000;

export async function nriAt(socket: string): Promise<NriFinding> {
  try {
    using connection = await connectToRuntime({
      ...{ socketPath: socket, name: 'csi-driver-idmap-doctor', index: '99', timeoutMs: TIMEOUT_MS },
      plugin: {
        synchronized: () => undefined,
        runPodSandbox: async () => undefined,
        createContainer: async () => [],
      },
    });
    return { socket, way: 'nri', because: `${connection.runtime} registers plugins there` };
  } catch (error) {
    return { socket, way: 'nested', because: messageOf(error) };
  }
}

const MEANINGS = {
  nri: 'pods with user namespaces get every volume at its mountPath (--user-namespaces auto: nri)',
  nested:
    'pods with user namespaces get overlays and FUSE volumes in a directory below the mountPath, and none with a mapping of its\n' +
    '  own (--user-namespaces auto: nested); containerd has NRI from 2.0 on, CRI-O with enable_nri; see --nri-socket',
} as const;

export const describeNri = ({ socket, way, because }: NriFinding): string =>
  `NRI at ${socket}: ${because}\n  ${MEANINGS[way]}`;
