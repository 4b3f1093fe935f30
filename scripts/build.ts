// `npm run build`: the production bundle in dist/, for a fast start.
import { rmSync } from 'node:fs';
import { bundle } from './bundle.ts';

rmSync('dist', { recursive: true, force: true });
await bundle({ write: true });
