// `userns`: a command in a user namespace of a mapping, to see whether the kernel takes it and what it makes of files.
// The exit status is that of the command, 128 + N when signal N ended it, and 125 when it could not be run in there, as
// env(1) and its like have it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { createUserNamespace } from '../userns/create.ts';
import { type IdMapping, parseIdMapping } from '../userns/mapping.ts';

export interface UsernsFlags {
  readonly uidmap: string;
  readonly gidmap: string;
}

const NOT_RUN = 125;

export async function usernsCommand(
  command: readonly string[],
  { uidmap, gidmap }: UsernsFlags,
): Promise<void> {
  process.exitCode = NOT_RUN;
  const uid = parseIdMapping(uidmap, '--uidmap');
  const gid = parseIdMapping(gidmap, '--gidmap');
  using namespace = createUserNamespace({ uid, gid });
  // By the path of this process, so that the command has no descriptor of ours.
  const enter = [
    `--user=/proc/${process.pid}/fd/${namespace.number}`,
    `--setuid=${lowest(uid)}`,
    `--setgid=${lowest(gid)}`,
    '--',
    ...command,
  ];
  // A Ctrl-C goes to the command as well, and is its own affair; others are sent to us alone. Before the command begins:
  // it may be heard of, and be sent a signal, before this process runs its next line.
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  const child = spawn('nsenter', enter, { stdio: 'inherit' });
  const [status, signal] = await once(child, 'exit').catch((cause: unknown) => {
    throw new Error('nsenter (of util-linux), which enters the namespace, cannot be started; install it', {
      cause,
    });
  });
  process.exitCode = signal === null ? status : 128 + constants.signals[signal as NodeJS.Signals];
}

/** Root, where it is mapped: the namespace must have the ids that the command runs with. */
const lowest = (mapping: IdMapping): number => Math.min(...mapping.map(({ container }) => container));
