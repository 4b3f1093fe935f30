// What an RPC can fail with: gRPC's codes, the error that carries one, and the default reading of anything
// thrown. CSI wants a code and a message for people, and the details empty.

/** https://grpc.io/docs/guides/status-codes/ */
export const Code = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type CodeName = keyof typeof Code;

/** The name of a number off the wire; gRPC has unknown numbers read as UNKNOWN. */
export function codeName(code: number): CodeName {
  return names.get(code) ?? 'UNKNOWN';
}

export interface StatusErrorOptions {
  readonly code: Exclude<CodeName, 'OK'>;
  readonly message: string;
  readonly cause?: unknown;
}

export class StatusError extends Error {
  override readonly name = 'StatusError';
  readonly code: Exclude<CodeName, 'OK'>;

  constructor({ code, message, cause }: StatusErrorOptions) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/**
 * Reads whatever was thrown. An abort is told by its cause: node's own APIs throw an AbortError with the
 * signal's reason inside, and the reason of a call's signal is a StatusError. Kubelet takes INTERNAL as
 * final (nothing is mounted), so a service that mounts maps its own errors before they come here.
 */
export function toStatus(error: unknown): StatusError {
  if (error instanceof StatusError) return error;
  if (!(error instanceof Error)) return new StatusError({ code: 'INTERNAL', message: String(error) });
  const { message } = error;
  if (error.name === 'AbortError') {
    if (error.cause instanceof StatusError) return error.cause;
    return new StatusError({ code: 'CANCELLED', message, cause: error });
  }
  if (error.name === 'TimeoutError') {
    return new StatusError({ code: 'DEADLINE_EXCEEDED', message, cause: error });
  }
  return new StatusError({ code: 'INTERNAL', message: message || error.name, cause: error });
}

const names = new Map(Object.entries(Code).map(([name, code]) => [code as number, name as CodeName]));
