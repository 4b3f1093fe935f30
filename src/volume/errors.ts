// A volume context that cannot be served, whatever the state of the node.

export class VolumeError extends Error {
  override readonly name = 'VolumeError';
  /** The key of the volume context, or the field of the request. */
  readonly field: string;
  readonly problem: string;

  constructor(field: string, problem: string) {
    super(`${field}: ${problem}`);
    this.field = field;
    this.problem = problem;
  }
}
