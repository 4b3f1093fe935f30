// The ways in which a user namespace is made, for suites that go through all of them.

import type { FeatureName } from '../../../src/sys/features.ts';
import type { CreateOptions } from '../../../src/userns/create.ts';
import { needRoot, needTool } from '../../support/need.ts';
import { without as withoutFeatures } from './features.ts';

export interface Way {
  readonly name: string;
  /** Features that it does without. */
  readonly without: readonly FeatureName[];
  readonly options: CreateOptions;
}

const ROWS: readonly (readonly [name: string, without: readonly FeatureName[]])[] = [
  ['clone, namespace from the pidfd', []],
  ['clone, namespace from /proc', ['pidfd-user-namespace']],
  ['spawn, namespace from the pidfd', ['clone-pidfd']],
  ['spawn, namespace from /proc', ['clone-pidfd', 'pidfd-user-namespace']],
];

export function describeWays(title: string, suite: (way: Way) => void): void {
  for (const [name, without] of ROWS) {
    describe(`${title}, by ${name}`, () => {
      before(function () {
        needRoot(this, 'mapping the ids of others takes CAP_SETUID');
        if (without.includes('clone-pidfd')) needTool(this, 'unshare', 'the second way to a namespace');
      });
      suite({ name, without, options: withoutFeatures(without) });
    });
  }
}
