// The chart as Helm renders it. Helm is built from the Go module proxy, once for a checkout (support/go-tool.ts).
import { execFile } from 'node:child_process';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse, parseAllDocuments } from 'yaml';
import { temporaryDirectory } from '../support/fixtures.ts';
import { goTool } from '../support/go-tool.ts';

export const CHART = join(import.meta.dirname, '../../charts/csi-driver-idmap');

const HELM = { module: 'helm.sh/helm/v3/cmd/helm', version: 'v3.20.2' };
/** What the objects are for, unless a test says otherwise. */
const KUBERNETES = '1.36.0';

export type Values = Readonly<Record<string, unknown>>;

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: each kind has its own; tests/chart/kinds.ts checks them.
  readonly [field: string]: any;
}

export interface RenderOptions {
  readonly kubeVersion?: string;
  readonly release?: string;
  readonly namespace?: string;
}

export interface Helm {
  /** @throws Error with what Helm says */
  render(values?: Values, options?: RenderOptions): Promise<readonly KubernetesObject[]>;
  /** What `helm install` tells the user. */
  notes(values?: Values): Promise<string>;
  lint(values?: Values): Promise<void>;
}

/** Skips the test or hook where it cannot be had. The first call of a checkout builds it, which takes minutes. */
export async function helm(context: Mocha.Context): Promise<Helm> {
  context.timeout('20m');
  const program = await goTool(context, HELM);
  const run = async (args: readonly string[], values: Values): Promise<string> => {
    const running = promisify(execFile)(program, [...args, '--values', '-'], { maxBuffer: 2 ** 24 });
    // JSON is YAML.
    running.child.stdin?.end(JSON.stringify(values));
    try {
      return (await running).stdout;
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      throw new Error(`helm ${args[0]}: ${stderr}${stdout}`.trim());
    }
  };
  const flags = ({ kubeVersion = KUBERNETES, namespace = 'storage' }: RenderOptions) => [
    ...['--namespace', namespace, '--kube-version', kubeVersion],
  ];
  return {
    async render(values = {}, options = {}) {
      const { release = 'idmap' } = options;
      const text = await run(['template', release, CHART, ...flags(options)], values);
      const documents = parseAllDocuments(text, { strict: true, uniqueKeys: true });
      if ('empty' in documents) return [];
      for (const { errors } of documents) if (errors.length > 0) throw errors[0];
      return documents.map((one) => one.toJS() as KubernetesObject | null).filter((one) => one !== null);
    },
    async notes(values = {}) {
      // Only `helm install` prints them, which needs a cluster: here they are rendered as an object.
      using place = temporaryDirectory();
      const chart = place.at('chart');
      cpSync(CHART, chart, { recursive: true });
      const text = readFileSync(join(CHART, 'templates/NOTES.txt'), 'utf8');
      rmSync(join(chart, 'templates/NOTES.txt'));
      writeFileSync(join(chart, 'templates/_notes.tpl'), `{{- define "notes" -}}${text}{{- end -}}`);
      writeFileSync(join(chart, 'templates/notes.yaml'), 'notes: {{ include "notes" . | toJson }}\n');
      const shown = ['--show-only', 'templates/notes.yaml'];
      return parse(await run(['template', 'idmap', chart, ...flags({}), ...shown], values)).notes;
    },
    lint: async (values = {}) => {
      await run(['lint', '--strict', CHART, '--kube-version', KUBERNETES], values);
    },
  };
}
