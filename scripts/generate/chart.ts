// The chart's README and values.schema.json, from the comments and defaults of its values.yaml: the comment above a
// value describes it, and `@schema {...}` in it adds what the default does not say.
//
//   a value of the file is       the schema has
//   text, a number, true         its type, and what `@schema` adds
//   a list                       any list, of what `@schema` calls `items`
//   a mapping                    these keys and no others, so that a misspelt one is refused
//   ... with additionalProperties in `@schema`   any keys: a form of Kubernetes' own
//   ... with `policy: true`      the policy, as the driver reads it (src/policy/schema.ts)
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isMap, isSeq, type Pair, parseDocument, type Scalar, type YAMLMap } from 'yaml';
import { z } from 'zod';
import { POLICY_SCHEMA } from '../../src/policy/schema.ts';
import { head, table } from './markdown.ts';

const CHART = 'charts/csi-driver-idmap';
const VALUES = `${CHART}/values.yaml`;

export const CHART_FILES: readonly string[] = [`${CHART}/README.md`, `${CHART}/values.schema.json`];

type Schema = Readonly<Record<string, unknown>>;

/** One value of the file. */
interface Value {
  /** `image.tag` */
  readonly name: string;
  readonly description: string;
  readonly annotation: Schema;
  readonly node: unknown;
}

export async function generateChart(root: string): Promise<Map<string, string>> {
  const document = parseDocument(await readFile(join(root, VALUES), 'utf8'));
  const values = valuesOf(document.contents as YAMLMap, []);
  return new Map([
    [`${CHART}/README.md`, `${readme(values)}\n`],
    [`${CHART}/values.schema.json`, `${JSON.stringify(rootSchema(values), null, 2)}\n`],
  ]);
}

function valuesOf(map: YAMLMap, path: readonly string[]): Value[] {
  return (map.items as Pair<Scalar<string>>[]).map(({ key, value }, i) => {
    // The comment of the first value of a mapping belongs to the mapping, for the parser.
    const comment = key.commentBefore ?? (i === 0 && path.length > 0 ? map.commentBefore : undefined) ?? '';
    const lines = comment.split('\n').map((line) => line.trim());
    const [annotation, ...more] = lines.filter((line) => line.startsWith('@schema '));
    if (more.length > 0) throw new Error(`${VALUES}: ${key.value} has @schema twice`);
    return {
      name: [...path, key.value].join('.'),
      description: lines.filter((line) => line !== '' && !line.startsWith('@schema ')).join(' '),
      annotation: annotation === undefined ? {} : JSON.parse(annotation.slice('@schema '.length)),
      node: value,
    };
  });
}

/** A mapping whose keys are values of the chart. */
function innerOf({ name, annotation, node }: Value): readonly Value[] | undefined {
  const isOpen = 'additionalProperties' in annotation || 'policy' in annotation;
  return isMap(node) && !isOpen ? valuesOf(node, name.split('.')) : undefined;
}

const defaultOf = ({ node }: Value): unknown => (node as Scalar).toJS(parseDocument(''));

function rootSchema(values: readonly Value[]): Schema {
  const own = objectOf(values);
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $comment: `Made from values.yaml by \`npm run generate\`: change it there.`,
    title: 'Values of the chart csi-driver-idmap',
    ...own,
    // Helm gives it to every chart that another one depends on.
    properties: { ...(own.properties as Schema), global: { type: 'object' } },
  };
}

function objectOf(values: readonly Value[]): Schema {
  const properties = values.map((value) => [value.name.split('.').at(-1), schemaOf(value)]);
  return { type: 'object', additionalProperties: false, properties: Object.fromEntries(properties) };
}

function schemaOf(value: Value): Schema {
  const { description, annotation, node } = value;
  const described = description === '' ? {} : { description };
  if ('policy' in annotation) return { ...described, ...policySchema() };
  const inner = innerOf(value);
  if (inner !== undefined) return { ...described, ...objectOf(inner) };
  const isEnum = 'enum' in annotation;
  return { ...described, ...(isEnum ? {} : { type: typeOf(node) }), ...annotation };
}

function typeOf(node: unknown): string {
  if (isMap(node)) return 'object';
  if (isSeq(node)) return 'array';
  const { value } = node as Scalar;
  return typeof value === 'number' ? 'integer' : typeof value;
}

/** As its authors write it. Helm knows draft 7 in every version. */
function policySchema(): Schema {
  const { $schema: _, ...schema } = z.toJSONSchema(POLICY_SCHEMA, {
    io: 'input',
    target: 'draft-7',
    unrepresentable: 'any',
    // YAML 1.1, which Helm speaks, reads a bare `no` as false; the driver takes it for `no`.
    override: ({ jsonSchema }) => {
      if (!jsonSchema.enum?.includes('no') || jsonSchema.enum.includes(false)) return;
      jsonSchema.enum.push(false);
      delete jsonSchema.type;
    },
  });
  return schema;
}

function rowsOf(value: Value): string[][] {
  const inner = innerOf(value);
  if (inner !== undefined) return inner.flatMap(rowsOf);
  const { name, description, annotation } = value;
  const shown = 'policy' in annotation ? 'the built-in policy' : `\`${JSON.stringify(defaultOf(value))}\``;
  const choices = Array.isArray(annotation.enum)
    ? `One of ${annotation.enum.map((choice) => `\`${JSON.stringify(choice)}\``).join(', ')}.`
    : '';
  return [[`\`${name}\``, shown, [description, choices].filter((text) => text !== '').join(' ')]];
}

function readme(values: readonly Value[]): string {
  return `${head('csi-driver-idmap: Helm chart', 'values.yaml')}
Installs the CSI node plugin on every node: a DaemonSet of the driver, one of fuse-host with \`fuse.mode: host\`, the CSIDriver
object, the policy as a ConfigMap, and the rights
that the driver needs (\`get\` pods, \`create\` and \`patch\` events). There is no controller and no Helm hook.

\`\`\`sh
kubectl create namespace csi-driver-idmap
kubectl label namespace csi-driver-idmap pod-security.kubernetes.io/enforce=privileged
helm install csi-driver-idmap charts/csi-driver-idmap -n csi-driver-idmap --set image.repository=REGISTRY/csi-driver-idmap
helm test csi-driver-idmap -n csi-driver-idmap
\`\`\`

[docs/quick-start.md](../../docs/quick-start.md) goes on from there, [docs/operations.md](../../docs/operations.md) says
how to upgrade and how to uninstall. A value that is misspelt, and a combination that cannot work, is refused when the
chart is rendered.

## Values

${table(['value', 'default', 'meaning'], values.flatMap(rowsOf))}`;
}
