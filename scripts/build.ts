// `npm run build`: the production bundle in dist/, for a fast start: main.mjs, and what it starts by itself, the
// engine's child process and its thread. koffi stays outside, for its native module.
import { readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };

rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: {
    main: 'src/main.ts',
    'engine-process': 'src/mount/engine/engine-process.ts',
    'thread-worker': 'src/mount/thread/thread-worker.ts',
  },
  outdir: 'dist',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  // Commands are loaded when they are called: each in a chunk of its own.
  splitting: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  external: ['koffi'],
  define: { BUNDLED_VERSION: JSON.stringify(version) },
  // CommonJS packages inside the bundle ask for Node's own modules through `require`.
  banner: {
    js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
  },
  legalComments: 'linked',
  logLevel: 'warning',
});
