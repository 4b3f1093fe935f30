// A volume context that cannot be served, whatever the state of the node.

export class VolumeError extends Error {
  override readonly name = 'VolumeError';
  /** The key of the volume context, or the field of the request. */
  readonly field: string;
  readonly problem: string;

  constructor(field: string, problem: string) {
    super(`${shown(field)}: ${problem}`);
    this.field = field;
    this.problem = problem;
  }
}

/** A key can be any text that an author came up with; one that could be taken for something else is quoted. */
function shown(field: string): string {
  return /^[\w.[\]/-]{1,200}$/.test(field) ? field : JSON.stringify(field.slice(0, 100));
}
