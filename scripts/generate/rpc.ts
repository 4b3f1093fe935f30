// Generator of src/rpc/generated/: TypeScript types, encoders and service definitions for every file below
// proto/ (ts-proto, run by buf), and secrets.ts, which says what must not be logged. Needs no network: the
// plugin is a local program and buf carries google's well-known types.

import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, normalize } from 'node:path';
import { promisify } from 'node:util';
import { renderSecrets } from './secrets.ts';

const run = promisify(execFile);
const target = 'src/rpc/generated';

// Why these and not others:
// - enumsAsLiterals: const objects, because sources run with their types erased and enums cannot be.
// - oneof=unions-value: a discriminated union {$case, value}, so that a switch over it is checked.
// - forceLong=bigint: CSI sizes are int64 up to 2^63-1 and callers do send that as "no limit". As numbers,
//   ts-proto throws while decoding such a request, which the caller would see as INTERNAL with no reason
//   given, and rounds silently above 2^53 while encoding. A bigint is exact both ways and out of range is
//   an error; statfs gives bigints too.
// - importSuffix, esModuleInterop, env=node: what Node itself can load, with Buffer for bytes.
// - useOptionals=none: a message that is made must name every field; create() fills in the defaults.
// - unknownFields=false: what a newer caller adds is dropped, never echoed or logged.
// - no JSON methods, no client stubs, no version lines: nobody uses them, and the text stays the same when
//   only a tool's version changes.
const tsProtoOptions = [
  'outputServices=grpc-js',
  'outputClientImpl=false',
  'outputJsonMethods=false',
  'enumsAsLiterals=true',
  'unrecognizedEnum=false',
  'oneof=unions-value',
  'forceLong=bigint',
  'importSuffix=.ts',
  'esModuleInterop=true',
  'env=node',
  'useOptionals=none',
  'unknownFields=false',
  'exportCommonSymbols=false',
  'annotateFilesWithVersion=false',
];

export async function generateRpc(root: string): Promise<Map<string, string>> {
  const bin = join(root, 'node_modules/.bin');
  // The plugin's first line asks env for `node`: it must get the one that the project pins.
  const options = {
    cwd: root,
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` },
    maxBuffer: 64 * 1024 * 1024,
  };
  const scratch = await mkdtemp(join(tmpdir(), 'generate-rpc-'));
  try {
    const template = {
      version: 'v2',
      plugins: [{ local: [join(bin, 'protoc-gen-ts_proto')], out: scratch, opt: tsProtoOptions }],
    };
    await run(join(bin, 'buf'), ['generate', 'proto', '--template', JSON.stringify(template)], options);
    const described = await run(
      join(bin, 'buf'),
      ['build', 'proto', '--as-file-descriptor-set', '--exclude-source-info', '-o', '-#format=json'],
      options,
    );

    const made = new Map<string, string>();
    for (const file of await wanted(scratch, await protoFiles(root))) {
      made.set(`${target}/${file}`, await readFile(join(scratch, file), 'utf8'));
    }
    made.set(`${target}/secrets.ts`, renderSecrets(JSON.parse(described.stdout)));
    return made;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function protoFiles(root: string): Promise<string[]> {
  const all = await readdir(join(root, 'proto'), { recursive: true });
  return all.filter((name) => name.endsWith('.proto')).sort();
}

/** The modules of our own files and what those import: google's descriptor.proto, say, is only annotations. */
async function wanted(scratch: string, protos: string[]): Promise<string[]> {
  const found = new Set(protos.map((proto) => proto.replace(/\.proto$/, '.ts')));
  for (const file of found) {
    const text = await readFile(join(scratch, file), 'utf8');
    for (const [, imported = ''] of text.matchAll(/ from "(\.{1,2}\/[^"]+)";$/gm)) {
      found.add(normalize(join(file, '..', imported)));
    }
  }
  return [...found].sort();
}
