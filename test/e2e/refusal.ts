// What a refusal leaves on a node: nothing.
import { existsSync } from 'node:fs';
import { expect } from 'chai';
import type { Answer, TestNode } from './node.ts';

export interface Refusal {
  /** One of these, where the same mistake can be found in several ways. */
  readonly code: Answer['code'] | readonly Answer['code'][];
  readonly message: RegExp;
  /** Must not be made. */
  readonly target?: string;
}

/** Refused like this, and mounts, records and the target are as before. */
export async function expectRefused(
  node: TestNode,
  call: () => Promise<Answer>,
  { code, message, target }: Refusal,
): Promise<void> {
  const before = { mounts: node.mounts(), records: node.records() };
  const answer = await call();
  expect(answer.code, answer.message).to.be.oneOf([code].flat());
  expect(answer.message).to.match(message);
  expect({ mounts: node.mounts(), records: node.records() }).to.deep.equal(before);
  if (target !== undefined) expect(existsSync(target), 'a target was made').to.equal(false);
}
