// What production runs: main.mjs, and what it starts by itself, the engine's child process and its
// thread, and fuse-host's. koffi stays
// outside, for its native module.
import { readFileSync } from 'node:fs';
import { type BuildResult, build, type Plugin } from 'esbuild';

export interface BundleOptions {
  /** Not written: for tests, which look at the result. */
  readonly write: boolean;
}

export async function bundle({ write }: BundleOptions): Promise<BuildResult<{ metafile: true }>> {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  return build({
    entryPoints: {
      main: 'src/main.ts',
      'engine-process': 'src/mount/engine/engine-process.ts',
      'start-process': 'src/fuse-host/start-process.ts',
      'thread-worker': 'src/mount/thread/thread-worker.ts',
    },
    outdir: 'dist',
    outExtension: { '.js': '.mjs' },
    bundle: true,
    // What is loaded when it is needed, a command or the Kubernetes client, is in a chunk of its own.
    splitting: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    // `debug` colours what it prints if supports-color happens to be there, as it is in development.
    external: ['koffi', 'supports-color'],
    plugins: [onlyWhatIsUsed('@kubernetes/client-node'), httpByRequire],
    define: { BUNDLED_VERSION: JSON.stringify(version) },
    // CommonJS packages inside the bundle ask for Node's own modules through `require`.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    // V8 keeps the text of what is loaded, comments too, and all of a file in two bytes for a dash in one of them. Names
    // stay, and short lines, for the stack traces.
    minifyWhitespace: true,
    lineLimit: 100,
    legalComments: 'linked',
    logLevel: 'warning',
    metafile: true,
    write,
  });
}

/**
 * An ES module that imports `node:http` is given all that it exports, made there and then. That is WebSocket too, with all
 * of fetch behind it: 13 MB and 30 ms for what nobody here uses. `require` gives what is asked for.
 */
const httpByRequire: Plugin = {
  name: 'http by require',
  setup({ onResolve, onLoad }) {
    const namespace = 'by-require';
    onResolve({ filter: /^(node:)?http$/ }, ({ kind }) =>
      kind === 'import-statement' ? { path: 'node:http', namespace } : undefined,
    );
    onLoad({ filter: /./, namespace }, ({ path }) => ({ contents: `module.exports = require('${path}');` }));
  },
};

/**
 * Leaves out the files of a package that nothing uses: it could say so itself, by `sideEffects: false`. The Kubernetes
 * client has a class for each type of the API, 4 MB of them; its one side effect is a polyfill for Node 18.
 */
function onlyWhatIsUsed(name: string): Plugin {
  const asked = Symbol(name);
  return {
    name: `only what is used of ${name}`,
    setup({ onResolve, resolve }) {
      onResolve({ filter: /./ }, async ({ path, pluginData, ...from }) => {
        const isInside = from.importer.includes(`/node_modules/${name}/`) && path.startsWith('.');
        if (pluginData === asked || !(isInside || path === name)) return undefined;
        return { ...(await resolve(path, { ...from, pluginData: asked })), sideEffects: false };
      });
    },
  };
}
