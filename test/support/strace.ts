// strace(1), which has a system call of a program fail, wait, or be its end.

/**
 * The arguments before the program's own, for it and all that it starts.
 * @param how as `-e inject` has it: `error=EMFILE`, `signal=SIGKILL:when=3`
 */
export const injecting = (call: string, how: string): string[] => [
  ...['-f', '-qq', '-o', '/dev/null'],
  ...['-e', `trace=${call}`, '-e', `inject=${call}:${how}`],
];
