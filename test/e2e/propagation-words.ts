// Options that say how a mount propagates: none of them is an author's to give. Not taken from the engine's own table, so
// that one that is missing there is missed.
export const PROPAGATION_WORDS: readonly string[] = [
  ...['shared', 'rshared', 'slave', 'rslave', 'private', 'rprivate'],
  ...['unbindable', 'runbindable', 'unpeered', 'runpeered'],
];
