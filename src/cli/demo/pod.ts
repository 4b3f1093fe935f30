// A process as a pod with a user namespace has it: root inside, an ordinary id outside.
import { spawnSync } from 'node:child_process';
import { createUserNamespace } from '../../userns/create.ts';
import { parseIdMapping } from '../../userns/mapping.ts';

/**
 * Runs a shell script as uid 0 of a new user namespace with this mapping. A mapping of a volume,
 * onDisk:shown:size, is also the pod's own, inside:outside:size.
 * @returns what it printed
 */
export function runInPod(mapping: string, script: string): string {
  const ids = parseIdMapping(mapping, 'mapping');
  using namespace = createUserNamespace({ uid: ids, gid: ids });
  const enter = ['--user=/proc/self/fd/3', '--setuid', '0', '--setgid', '0', '--', 'sh', '-ec', script];
  const { status, stdout, stderr, error } = spawnSync('nsenter', enter, {
    stdio: ['ignore', 'pipe', 'pipe', namespace.number],
    encoding: 'utf8',
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`in the pod, ${script}: ${stderr.trim()}`);
  return stdout.trim();
}
