// The known name that a misspelt one most likely stands for.

/** What nobody has misspelt, and would take long to compare. */
const LONGEST = 64;

/**
 * The nearest of `known` within a third of its length in edits, or else the one that begins with the name; undefined
 * when none is near.
 */
export function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > LONGEST) return undefined;
  const [best] = known
    .map((candidate) => ({ candidate, edits: distance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.edits - b.edits);
  if (best && best.edits <= Math.max(2, Math.ceil(best.candidate.length / 3))) return best.candidate;
  return known.find((candidate) => name !== '' && candidate.startsWith(name));
}

/** Levenshtein's: insertions, deletions and replacements. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, left] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, right] of [...b].entries()) {
      const [above = 0, diagonal = 0, before = 0] = [row[j + 1], row[j], next[j]];
      next.push(Math.min(above + 1, before + 1, diagonal + (left === right ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
