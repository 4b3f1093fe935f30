// Tries to make a user namespace, and prints the error: creating.fixture.ts FEATURES-IT-DOES-WITHOUT MAPPING
import { createUserNamespace } from '../../../src/userns/create.ts';
import { parseIdMapping } from '../../../src/userns/mapping.ts';
import { without } from './features.ts';

const [features, mapping = ''] = process.argv.slice(2);
const ids = parseIdMapping(mapping, 'mapping');
try {
  createUserNamespace({ uid: ids, gid: ids }, without(features))[Symbol.dispose]();
  process.stdout.write('{}');
} catch (error) {
  const { message, code } = error as Error & { code?: string };
  process.stdout.write(JSON.stringify({ message, code }));
}
