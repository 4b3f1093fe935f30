// The Kubernetes client costs as much memory as the rest of the driver: who does not ask the API server does not pay.
import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { stop } from 'esbuild';
import { bundle } from '../../../scripts/bundle.ts';

describe('the Kubernetes client is loaded when it is needed', () => {
  // The process that bundles.
  after(stop);

  it('not with the server; nor is that for metrics', () => {
    const program = `
      import { registerHooks } from 'node:module';
      const resolved = [];
      registerHooks({ resolve: (name, context, next) => (resolved.push(name), next(name, context)) });
      await import('./src/server.ts');
      const libraries = ['@grpc/grpc-js', '@kubernetes/client-node', 'prom-client'];
      console.log(libraries.filter((name) => resolved.includes(name)).join(' '));`;
    const said = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
    expect(said).to.equal('@grpc/grpc-js\n');
  });

  it("in the bundle, it is in a chunk of its own that nothing imports at start, and without the API's types", async () => {
    const { outputs } = (await bundle({ write: false })).metafile;
    const bytesOf = (file: string) =>
      Object.entries(outputs[file]?.inputs ?? {})
        .filter(([input]) => input.includes('/@kubernetes/client-node/'))
        .reduce((sum, [, { bytesInOutput }]) => sum + bytesInOutput, 0);
    const holding = Object.keys(outputs).filter((file) => bytesOf(file) > 0);
    expect(holding).to.have.length(1);
    const [chunk = ''] = holding;
    expect(bytesOf(chunk)).to.be.within(10_000, 200_000);
    const imports = Object.values(outputs).flatMap((output) => output.imports);
    const kinds = imports.filter(({ path }) => path === chunk).map(({ kind }) => kind);
    expect(kinds).to.deep.equal(['dynamic-import']);
  });
});
