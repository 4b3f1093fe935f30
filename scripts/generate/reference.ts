// Reference pages of docs/, and the schema beside them, from the tables that the code itself reads: a page cannot say anything else than what
// the program does.
import { OPTIONS, type OptionRow, type OptionTable, variableOf } from '../../src/config.ts';
import { FUSE_HOST_OPTIONS } from '../../src/fuse-host-config.ts';
import { REASONS } from '../../src/node/reasons.ts';
import { METRICS } from '../../src/observe/metrics.ts';
import { DEFAULT_POLICY_TEXT } from '../../src/policy/default.ts';
import { FEATURES } from '../../src/sys/features.ts';
import { head, table } from './markdown.ts';
import { volumeContextPage, volumeContextSchema } from './volume-context.ts';

const PAGES: Readonly<Record<string, () => string>> = {
  'docs/configuration.md': configurationPage,
  'docs/default-policy.yaml': () => DEFAULT_POLICY_TEXT,
  'docs/errors.md': errorsPage,
  'docs/kernel-features.md': kernelFeaturesPage,
  'docs/metrics.md': metricsPage,
  'docs/volume-context.md': volumeContextPage,
  'docs/volume-context.schema.json': volumeContextSchema,
};

export const REFERENCE_PAGES: readonly string[] = Object.keys(PAGES);

export function generateReference(): Map<string, string> {
  return new Map(Object.entries(PAGES).map(([file, page]) => [file, `${page().trim()}\n`]));
}

const optionRows = <S extends object>(options: OptionTable<S>): string[][] =>
  Object.values<OptionRow<unknown>>(options).map(
    ({ flag, variable = variableOf(flag), placeholder, meaning, fallback }) => [
      `\`--${flag} ${placeholder}\``,
      `\`${variable}\``,
      meaning.replace(/ \(default: .*\)$/, ''),
      shownDefault(/\(default: (.*)\)$/.exec(meaning)?.[1] ?? `\`${fallback({})}\``),
    ],
  );

/** `<kubelet dir>` would be taken for HTML. */
const shownDefault = (text: string): string => (text.includes('<') ? `\`${text}\`` : text);

function configurationPage(): string {
  return `${head('Configuration', 'src/config.ts')}
\`csi-driver-idmap serve\` takes each of these as a flag or as an environment variable; the flag wins. A wrong value
is refused at start, by name. A flag whose value is a list may be given several times.

${table(['flag', 'variable', 'meaning', 'default'], optionRows(OPTIONS))}

\`csi-driver-idmap fuse-host\` ([fuse.md](fuse.md)) takes these, alike:

${table(['flag', 'variable', 'meaning', 'default'], optionRows(FUSE_HOST_OPTIONS))}`;
}

function errorsPage(): string {
  const rows = Object.entries(REASONS).map(([reason, { code, retryable, meaning, remedy }]) => [
    `\`${reason}\``,
    `\`${code}\``,
    retryable ? 'yes' : 'no',
    meaning,
    remedy,
  ]);
  return `${head('Errors', 'src/node/reasons.ts')}
Every failed call has a reason, and each reason one gRPC code. Kubelet takes \`UNAVAILABLE\`, \`DEADLINE_EXCEEDED\`,
\`RESOURCE_EXHAUSTED\`, \`ABORTED\` and \`CANCELLED\` as "not known, clean up": these are sent as they are. Any other code is
to it "nothing is mounted", and only sent when all that the call did has been undone; otherwise the answer is
\`UNAVAILABLE\` in its place. *Retry* tells whether the same request can succeed later without anybody changing it.

${table(['reason', 'code', 'retry', 'what happened', 'what to do'], rows)}`;
}

function kernelFeaturesPage(): string {
  const rows = Object.entries(FEATURES).map(([name, { since, neededFor, without, how }]) => [
    `\`${name}\``,
    since,
    neededFor,
    without,
    how,
  ]);
  return `${head('Kernel features', 'src/sys/features.ts')}
\`csi-driver-idmap doctor\` tries each of these on the machine it runs on. They are found out by trying, never from
the version: distributions backport, and seccomp filters take away.

${table(['feature', 'since Linux', 'needed for', 'without it', 'how it is found out'], rows)}`;
}

function metricsPage(): string {
  const rows = Object.entries(METRICS).map(([name, { type, help, labels }]) => [
    `\`${name}\``,
    type,
    help,
    Object.entries(labels)
      .map(([label, meaning]) => `\`${label}\`: ${meaning}`)
      .join('<br>'),
  ]);
  return `${head('Metrics', 'src/observe/metrics.ts')}
With \`--metrics-address HOST:PORT\` the driver serves \`/metrics\` for Prometheus; \`/healthz\`, which only says that the
process answers and never looks at a volume; and \`/readyz\`, which is 200 when the driver is ready, and kubelet has
registered it where it registers itself, and 503 when not. There is no TLS and no password: give it an address that only
those reach who may read it. Beside the metrics of the table come prom-client's \`process_*\` and \`nodejs_*\`.

${table(['metric', 'type', 'meaning', 'labels'], rows)}`;
}
