// Where to listen, as CSI writes it: `unix:///csi/csi.sock`, `unix:relative.sock`, or an absolute path.

/** The path of the socket; throws an Error that says what was wrong with the text. */
export function parseEndpoint(endpoint: string): string {
  const refuse = (why: string) => new Error(`endpoint '${endpoint}': ${why}`);
  if (endpoint === '') throw refuse('is empty; expected unix:///path/to/csi.sock');
  const path = pathOf(endpoint, refuse);
  if (path === '') throw refuse('names no path');
  if (path.includes('\0')) throw refuse('contains a NUL byte');
  if (path.startsWith('@')) throw refuse('abstract sockets have no file permissions and are not supported');
  if (path.endsWith('/')) throw refuse('names a directory, not a socket');
  const problem = socketPathProblem(path);
  if (problem !== undefined) throw refuse(problem);
  return path;
}

/** unix(7): sun_path holds 108 bytes with the final NUL. */
export function socketPathProblem(path: string): string | undefined {
  const bytes = Buffer.byteLength(path);
  return bytes > longestPath
    ? `the socket's path is ${bytes} bytes long, the kernel takes ${longestPath} at most`
    : undefined;
}

const longestPath = 107;

function pathOf(endpoint: string, refuse: (why: string) => Error): string {
  if (endpoint.startsWith('/')) return endpoint;
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(endpoint)?.[1]?.toLowerCase();
  if (scheme === undefined) throw refuse(`is neither absolute nor a URL; did you mean unix:${endpoint}?`);
  if (scheme !== 'unix') throw refuse(`scheme '${scheme}' is not supported, only unix`);
  const rest = endpoint.slice('unix:'.length);
  if (!rest.startsWith('//')) return rest;
  // In a URL, what follows two slashes is a host up to the next one.
  if (!rest.startsWith('///')) throw refuse(`names a host; did you mean unix:///${rest.slice(2)}?`);
  return rest.slice(2);
}
