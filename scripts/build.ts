// `npm run build`: the production bundle in dist/, for a fast start, with the licences of what is in it.
import { rmSync, writeFileSync } from 'node:fs';
import { bundle } from './bundle.ts';
import { licenceTexts, shippedPackages } from './shipped.ts';

rmSync('dist', { recursive: true, force: true });
const { metafile } = await bundle({ write: true });
writeFileSync('dist/LICENSES.txt', `${licenceTexts(shippedPackages(metafile))}\n`);
