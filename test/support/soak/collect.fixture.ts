// Loaded before the plugin (`node --import`): on SIGURG, which nobody else sends, it collects garbage and writes what is
// left to the file that SOAK_MEMORY names. What memory a process holds for good can only be seen from inside.
import { renameSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const file = process.env.SOAK_MEMORY;

if (file !== undefined) {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  process.on('SIGURG', () => {
    // Twice: what a finalizer lets go of is garbage only afterwards.
    collect();
    setImmediate(() => {
      collect();
      writeFileSync(`${file}.new`, JSON.stringify(process.memoryUsage()));
      renameSync(`${file}.new`, file);
    });
  });
}
