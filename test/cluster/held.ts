// What the node has of the driver and its volumes, each by a line: for tests of what is left when all should be gone.
// Asked of the kernel and the disk, not of the driver.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mountTargets } from '../support/leaks.ts';
import { DRIVER_NAME } from './chart.ts';
import { until } from './cluster.ts';
import { DATA } from './data.ts';
import { KUBELET_DIR } from './where.ts';

export const PLUGIN_DIR = join(KUBELET_DIR, 'plugins', DRIVER_NAME);

/** Mounts, loop devices, FUSE helpers, records and writable layers of volumes. */
export function heldOfVolumes(): string[] {
  return [
    ...mountTargets()
      .filter(({ target }) => OF_VOLUMES.test(target))
      .map(({ target, type }) => `mount: ${target} (${type})`),
    ...loopFiles().map((file) => `loop device: of ${file}`),
    ...commands(/^\S*\/(bindfs|squashfuse|fuse2fs) /).map((command) => `helper: ${command}`),
    ...filesBelow(join(PLUGIN_DIR, 'records')).map((file) => `record: ${file}`),
    ...entries(join(PLUGIN_DIR, 'layers')).map((name) => `layer: ${name}`),
  ];
}

/** All of that, and of the driver itself: processes, sockets, and every file in its directory. */
export const heldOfDriver = (): string[] => [
  ...heldOfVolumes(),
  ...commands(/csi-driver-idmap\/main\.mjs/).map((command) => `process: ${command}`),
  ...entries(join(KUBELET_DIR, 'plugins_registry')).map((name) => `registration: ${name}`),
  ...filesBelow(PLUGIN_DIR).map((file) => `file: ${file}`),
];

/** Waits: layers are deleted in the background, and kubelet unstages when it gets round to it. */
export async function untilNothingIsHeld(held: () => readonly string[] = heldOfVolumes): Promise<void> {
  await until(
    () => `nothing is left:\n  ${held().join('\n  ')}`,
    () => held().length === 0,
  );
}

const OF_VOLUMES = new RegExp(
  `^${KUBELET_DIR}/(pods/[^/]+/volumes/kubernetes\\.io~csi/|pods/[^/]+/volume-subpaths/|plugins/kubernetes\\.io/csi/|plugins/${DRIVER_NAME.replaceAll('.', '\\.')}/)`,
);

const loopFiles = (): string[] =>
  readdirSync('/sys/block')
    .filter((name) => name.startsWith('loop'))
    .flatMap((name) => contentOf(`/sys/block/${name}/loop/backing_file`).trim() || [])
    .filter((file) => file.startsWith(`${DATA}/`) || file.startsWith(`${KUBELET_DIR}/`));

/** Of processes that have to do with kubelet's directory; others may run the same programs. */
const commands = (pattern: RegExp): string[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => contentOf(`/proc/${pid}/cmdline`).replaceAll('\0', ' '))
    .filter((command) => pattern.test(command) && command.includes(KUBELET_DIR));

const entries = (directory: string): string[] => (existsSync(directory) ? readdirSync(directory) : []);

const filesBelow = (directory: string): string[] =>
  existsSync(directory)
    ? readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter((entry) => !entry.isDirectory())
        .map(({ parentPath, name }) => join(parentPath, name))
    : [];

/** Processes and devices come and go. */
function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
