// What failed, in words: with the error that a failed disposal would hide, and which is the first.

export function wordsOf(error: unknown): string {
  if (error instanceof SuppressedError)
    return `${wordsOf(error.suppressed)}\nand then ${wordsOf(error.error)}`;
  return error instanceof Error ? error.message : String(error);
}
