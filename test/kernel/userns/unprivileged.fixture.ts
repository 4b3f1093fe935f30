// Tries to make a user namespace with somebody else's ids, and prints the error.
import { createUserNamespace } from '../../../src/userns/create.ts';

const ids = [{ container: 0, host: 0, size: 10 }];
try {
  createUserNamespace({ uid: ids, gid: ids })[Symbol.dispose]();
} catch (error) {
  const { message, code } = error as Error & { code?: string };
  process.stdout.write(JSON.stringify({ message, code }));
}
