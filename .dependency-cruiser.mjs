// The layers of docs/architecture.md as rules: which room may import which. A room that is not named in a row may
// not be imported by it; within a room everything may.
const MAY_IMPORT = {
  sys: [],
  userns: ['sys'],
  mount: ['userns', 'sys'],
  volume: ['mount', 'userns'],
  policy: ['volume', 'mount', 'userns'],
  journal: ['sys'],
  observe: ['sys'],
  kubernetes: ['sys'],
  rpc: ['observe'],
  identity: ['rpc', 'observe'],
  registration: ['rpc', 'observe'],
  nri: ['rpc', 'observe'],
  'fuse-host': ['policy', 'volume', 'mount', 'userns', 'observe', 'rpc', 'sys'],
  node: [
    'volume',
    'policy',
    'journal',
    'mount',
    'userns',
    'observe',
    'kubernetes',
    'rpc',
    'nri',
    'fuse-host',
  ],
};

/** What `volume` and `policy` may see of the engine: data and pure functions, nothing that calls the kernel. */
const EFFECTS =
  '^src/(sys|mount/(apply|engine|filesystem-type|flags|fuse/(answer|connection|mounts|program|unmount)|hand-over|image|in-root|inspect|lookup|loop|operations|statmount|steps|target|temporary|unmount|view)|userns/(cache|create|pod-record|pod-record-watch|sandbox|spawned-child))[./]';

export default {
  forbidden: [
    ...Object.entries(MAY_IMPORT).map(([room, allowed]) => ({
      name: `layers-${room}`,
      comment: `src/${room} may import ${allowed.join(', ') || 'no other room'}`,
      severity: 'error',
      from: { path: `^src/${room}/` },
      to: { path: '^src/', pathNot: `^src/(${[room, ...allowed].join('|')})/` },
    })),
    {
      name: 'pure-volume-and-policy',
      severity: 'error',
      from: { path: '^src/(volume|policy)/' },
      to: { path: EFFECTS },
    },
    {
      name: 'files-of-policy',
      comment: 'the machine is touched by one file of src/policy alone',
      severity: 'error',
      from: { path: '^src/(volume|policy)/', pathNot: '^src/policy/file[.]ts$' },
      to: { dependencyTypes: ['core'], pathNot: '^(node:)?path(/posix)?$' },
    },
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-test-in-src',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|bench|scripts)/' },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-dev-dependencies-in-src',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '/generated/' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.mjs', '.json'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
