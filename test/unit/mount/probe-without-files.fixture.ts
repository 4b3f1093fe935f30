// Asks whether / answers when this process can open no more files, twice, and says what it was told.
import { closeSync, openSync } from 'node:fs';
import { filesystemProbe } from '../../../src/mount/fuse/probe.ts';

using probe = filesystemProbe();
await probe.ask('/', 5_000);
const opened: number[] = [];
try {
  for (;;) opened.push(openSync('/dev/null', 'r'));
} catch {
  // There are no more.
}
const answers = [await probe.ask('/', 5_000), await probe.ask('/', 5_000)];
for (const fd of opened) closeSync(fd);
process.stdout.write(JSON.stringify(answers));
