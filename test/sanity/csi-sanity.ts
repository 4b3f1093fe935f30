// Runs csi-sanity, the conformance suite of the CSI project, and reads its report.

import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface SanityOptions {
  readonly program: string;
  readonly endpoint: string;
  readonly controllerEndpoint: string;
  /** For the report and the files that csi-sanity is given. */
  readonly directory: string;
  /** The parent of the target and staging directories, which csi-sanity makes and removes for each spec. */
  readonly mountsBelow: string;
  readonly volumeContext: Readonly<Record<string, string>>;
  readonly accessType: 'mount' | 'block';
  /** What volumes are made with, and expanded to, in bytes. */
  readonly sizes: { readonly made: number; readonly expanded: number };
  /** Only specs whose full text matches. */
  readonly focus?: string;
}

export interface Spec {
  readonly title: string;
  /** Blocked: it could not begin, because an earlier one left its target or staging directory. */
  readonly state: 'passed' | 'skipped' | 'failed' | 'blocked';
  /** What csi-sanity said about a failure, and the steps that led to it; why it skipped, for a skipped one. */
  readonly message: string;
  /** Milliseconds since the epoch. */
  readonly started: number;
  readonly ended: number;
}

export async function runCsiSanity(options: SanityOptions): Promise<Spec[]> {
  const { program, directory, mountsBelow } = options;
  const parameters = join(directory, 'parameters.yaml');
  const secrets = join(directory, 'secrets.yaml');
  const report = join(directory, 'report.json');
  await writeFile(parameters, yaml(options.volumeContext));
  await writeFile(
    secrets,
    ['NodeStageVolumeSecret', 'NodePublishVolumeSecret']
      .map((request) => `${request}:\n  token: ${secretText}\n`)
      .join(''),
  );
  const settings = {
    'csi.endpoint': options.endpoint,
    'csi.controllerendpoint': options.controllerEndpoint,
    'csi.mountdir': join(mountsBelow, 'mount'),
    'csi.stagingdir': join(mountsBelow, 'staging'),
    'csi.testvolumeparameters': parameters,
    'csi.testvolumeaccesstype': options.accessType,
    'csi.testvolumesize': String(options.sizes.made),
    'csi.testvolumeexpandsize': String(options.sizes.expanded),
    'csi.secrets': secrets,
    'ginkgo.json-report': report,
    'ginkgo.focus': options.focus ?? '',
    // One order of the groups, so that a failure comes again.
    'ginkgo.seed': '1',
    'ginkgo.no-color': 'true',
    'ginkgo.timeout': '8m',
    'ginkgo.grace-period': '5s',
  };
  const output = await run(
    program,
    Object.entries(settings).map(([name, value]) => `-${name}=${value}`),
  );
  let text: string;
  try {
    text = await readFile(report, 'utf8');
  } catch (cause) {
    throw new Error(`csi-sanity wrote no report; it said:\n${output}`, { cause });
  }
  const suites: Report[] = JSON.parse(text);
  return suites.flatMap(({ SpecReports }) => SpecReports.map(specOf));
}

/** Sent as a secret with every stage and publish. */
export const secretText = 'kept-out-of-every-log';

/** The part of Ginkgo's report that is used. */
interface Report {
  readonly SpecReports: readonly SpecReport[];
}

interface SpecReport {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeText: string;
  readonly State: string;
  readonly StartTime: string;
  readonly EndTime: string;
  readonly Failure?: Failure;
  readonly AdditionalFailures?: readonly { readonly Failure: Failure }[];
  readonly SpecEvents?: readonly { readonly SpecEventType: string; readonly Message?: string }[];
}

interface Failure {
  readonly Message?: string;
  readonly Location?: { readonly FileName?: string; readonly LineNumber?: number };
}

function specOf(report: SpecReport): Spec {
  const state = stateOf(report);
  const failures = [report.Failure, ...(report.AdditionalFailures ?? []).map(({ Failure }) => Failure)];
  return {
    title: [...(report.ContainerHierarchyTexts ?? []), report.LeafNodeText].join(' ').trim(),
    state,
    message: failures
      .filter((failure) => failure !== undefined)
      .map((failure) => (state === 'failed' ? told(failure, report) : (failure.Message ?? '')))
      .join('\n'),
    started: Date.parse(report.StartTime),
    ended: Date.parse(report.EndTime),
  };
}

/** All that is none of the others is a failure: panicked, aborted, interrupted, timed out. */
function stateOf({ State, Failure }: SpecReport): Spec['state'] {
  if (State === 'passed') return 'passed';
  if (State === 'skipped' || State === 'pending') return 'skipped';
  return /^failed to create (target|staging) directory/.test(Failure?.Message ?? '') ? 'blocked' : 'failed';
}

function told({ Message = '', Location = {} }: Failure, { State, SpecEvents = [] }: SpecReport): string {
  const steps = SpecEvents.filter(({ SpecEventType }) => SpecEventType === 'By').map(
    ({ Message: step = '' }) => `  STEP: ${step}`,
  );
  return [`${State}: ${Message}`, `  at ${Location.FileName}:${Location.LineNumber}`, ...steps].join('\n');
}

/** What it printed. That specs fail is in its report; only that it could not run is thrown. */
async function run(program: string, parameters: readonly string[]): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  execFile(program, parameters, { timeout: longestRunMs, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
    if (error !== null && typeof error.code !== 'number') {
      reject(new Error(`csi-sanity did not finish: ${error.message}\n${stdout}${stderr}`, { cause: error }));
    } else resolve(stdout + stderr);
  });
  return await promise;
}

/** Beyond its own bound, which it needs a moment to act on. */
const longestRunMs = 9 * 60_000;

/** A JSON string is a YAML one. */
function yaml(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}\n`)
    .join('');
}
