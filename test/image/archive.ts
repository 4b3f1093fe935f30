// An image as its archive has it (docker save, podman save, buildah push docker-archive:), unpacked: what is in it, and
// how a container of it is to be started.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { temporaryDirectory } from '../support/fixtures.ts';

export interface Image extends Disposable {
  /** Its root filesystem. */
  readonly root: string;
  readonly config: {
    readonly User?: string;
    readonly Env?: readonly string[];
    readonly Entrypoint?: readonly string[];
    readonly Cmd?: readonly string[];
    readonly Labels?: Readonly<Record<string, string>>;
  };
  readonly architecture: string;
}

export function openImage(archive: string): Image {
  using making = new DisposableStack();
  const place = making.use(temporaryDirectory());
  const [unpacked, root] = [place.at('archive'), place.at('root')];
  execFileSync('mkdir', [unpacked, root]);
  execFileSync('tar', ['-xf', archive, '-C', unpacked]);
  const json = (name: string) => JSON.parse(readFileSync(join(unpacked, name), 'utf8'));
  const [{ Config: config, Layers: layers }] = json('manifest.json') as [
    { Config: string; Layers: string[] },
  ];
  for (const layer of layers) apply(join(unpacked, layer), root);
  const { config: container, architecture } = json(config);
  const kept = making.move();
  return { root, config: container, architecture, [Symbol.dispose]: () => kept.dispose() };
}

/** A layer deletes by files called `.wh.NAME` (OCI image specification, layer.md). */
function apply(layer: string, root: string): void {
  execFileSync('tar', ['-xf', layer, '-C', root, '--numeric-owner', '--same-owner', '--same-permissions']);
  const all = readdirSync(root, { recursive: true, encoding: 'utf8' });
  for (const name of all.filter((one) => basename(one).startsWith('.wh.'))) {
    const gone = join(root, dirname(name), basename(name).slice('.wh.'.length));
    rmSync(gone, { recursive: true, force: true });
    rmSync(join(root, name), { force: true });
  }
}
