import { expect } from 'chai';
import { readTrace } from '../../../bench/trace.ts';

const LINES = `
101   fsync(23)                         = 0 <0.001500>
102   clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_SYSVSEM}, 88) = 103 <0.000031>
103   fdatasync(24 <unfinished ...>
102   clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD <unfinished ...>
103   <... fdatasync resumed>)          = 0 <0.002500>
102   <... clone resumed>)              = 104 <0.000200>
104   execve("/bin/mount", ["mount"], 0x7f /* 3 vars */) = 0 <0.000300>
104   +++ exited with 0 +++
`;

describe('bench: what strace saw', () => {
  it('counts processes and programs, not threads, and each call once', () => {
    expect(readTrace(LINES).processes).to.equal(2);
  });

  it('adds up what the disk was waited for, also where another thread came between', () => {
    expect(readTrace(LINES).syncs).to.deep.equal([1.5, 2.5]);
  });

  it('sees nothing in nothing', () => {
    expect(readTrace('')).to.deep.equal({ processes: 0, syncs: [] });
  });
});
