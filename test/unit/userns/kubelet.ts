// What kubelet does for a pod with a user namespace, for tests that play it.
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export const UID = '0d5e4a07-9a0a-4a8b-8a3c-54b0f9a1c1de';

const recordOf = (hostId: number): string => {
  const ids = [{ hostId, containerId: 0, length: 65_536 }];
  return JSON.stringify({ uidMappings: ids, gidMappings: ids });
};
const ids = [{ container: 0, host: 131_072, size: 65_536 }];

export const RECORD = recordOf(131_072);
export const OTHER_RECORD = recordOf(196_608);
/** What RECORD says. */
export const MAPPED = { is: 'mapped', mapping: { uid: ids, gid: ids } };

/** As kubelet does: into place at once. */
export function writeRecord(podDirectory: string, record = RECORD): void {
  const temporary = join(podDirectory, '.123456');
  writeFileSync(temporary, record, { mode: 0o600 });
  renameSync(temporary, join(podDirectory, 'userns'));
}
