// A token bucket for each key, for as many keys as are remembered.
export interface RateLimit {
  /** How many may come at once. */
  readonly burst: number;
  /** How long until one more may. */
  readonly refillMs: number;
  /** Keys; the one that was not asked for the longest is forgotten first, and so begins anew. */
  readonly remembered: number;
  /** Milliseconds that never go back. */
  readonly now?: () => number;
}

/** Gives a function that takes a token of this key, and says whether there was one. */
export function rateLimit({
  burst,
  refillMs,
  remembered,
  now = () => performance.now(),
}: RateLimit): (key: string) => boolean {
  const buckets = new Map<string, { readonly tokens: number; readonly at: number }>();
  return (key) => {
    const at = now();
    const before = buckets.get(key) ?? { tokens: burst, at };
    const tokens = Math.min(burst, before.tokens + (at - before.at) / refillMs);
    const isThere = tokens >= 1;
    buckets.delete(key);
    buckets.set(key, { tokens: isThere ? tokens - 1 : tokens, at });
    for (const oldest of buckets.keys()) {
      if (buckets.size <= remembered) break;
      buckets.delete(oldest);
    }
    return isThere;
  };
}
