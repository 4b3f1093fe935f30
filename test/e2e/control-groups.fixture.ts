// As fuse-host makes groups for its helpers, in the control group that this process is started in: says what came of it.
import { helperGroups } from '../../src/fuse-host/cgroup.ts';

const groups = helperGroups({ memoryBytes: 64 << 20, socket: '/test' });
if (groups.are === 'there') {
  const group = groups.of('/target');
  console.log(group.procs);
  group.remove();
} else console.log(`none: ${groups.because}`);
