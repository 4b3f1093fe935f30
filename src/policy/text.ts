// What is asked of texts that authors wrote.
import type { Pattern } from './policy.ts';

export const anyMatches = (patterns: readonly Pattern[], text: string): boolean =>
  patterns.some(({ regex }) => regex.test(text));

/** For messages. */
export const textsOf = (patterns: readonly Pattern[]): string => listOf(patterns.map(({ text }) => text));

export const listOf = (names: readonly string[]): string => (names.length === 0 ? 'none' : names.join(', '));
