// How helpers are told to stay what they were started as, rather than to become daemons: then their end is their parent's
// to see, and what they say still has somewhere to go. Each row was tried (docs/fuse.md has the table of helpers).

const FOREGROUND: Readonly<Record<string, readonly string[]>> = {
  bindfs: ['-f'],
  fuse2fs: ['-f'],
  'fuse-overlayfs': ['-f'],
  squashfuse: ['-f'],
  squashfuse_ll: ['-f'],
  sshfs: ['-f'],
};

/** Undefined for a helper of which that is not known. */
export function foregroundFlags(helper: string): readonly string[] | undefined {
  return Object.hasOwn(FOREGROUND, helper) ? FOREGROUND[helper] : undefined;
}
