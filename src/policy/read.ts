// A policy file becomes a Policy. Strict: what is not understood is refused, by its place in the file, for a rule that
// is read as something else than its author meant allows something else.
import { LineCounter, parseDocument } from 'yaml';
import type * as z from 'zod';
import { HELPER_NAME } from '../mount/fuse/command.ts';
import { hasControl } from '../volume/parse.ts';
import { forbidden } from './forbidden-options.ts';
import type { Policy, Root, Rule } from './policy.ts';
import { mayContain } from './roots.ts';
import { type ParsedRule, POLICY_SCHEMA } from './schema.ts';
import { helperOf, INTERFACES, isNetwork } from './types.ts';

/** A file that is no policy; one line for each problem, with its place. */
export class PolicyFileError extends Error {
  override readonly name = 'PolicyFileError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join('\n'));
    this.problems = problems;
  }
}

type Place = readonly PropertyKey[];
interface Problem {
  readonly place: Place;
  readonly message: string;
}

/** @throws PolicyFileError naming every place that is wrong: `rules[2].roots[0].path (line 14): ...` */
export function readPolicy(text: string): Policy {
  const lines = new LineCounter();
  const { document, value } = fromYaml(text, lines);
  const report = (problems: readonly Problem[]): PolicyFileError =>
    new PolicyFileError(problems.map(({ place, message }) => `${where(place)}${message}`));

  /** `rules[0].class (line 3): ` */
  function where(place: Place): string {
    const node = document.getIn(place, true) as { range?: readonly number[] } | undefined;
    const line = node?.range?.[0] === undefined ? '' : ` (line ${lines.linePos(node.range[0]).line})`;
    return `${showPlace(place)}${line}: `;
  }

  const parsed = POLICY_SCHEMA.safeParse(value);
  if (!parsed.success) throw report(parsed.error.issues.flatMap((issue) => problemsOf(issue, value)));
  const { rules } = parsed.data;
  const problems = rules.flatMap((rule, i) =>
    [...ruleProblems(rule), ...replaceableRoots(rule, rules)].map(({ place, message }) => ({
      place: ['rules', i, ...place],
      message,
    })),
  );
  if (problems.length > 0) throw report(problems);
  return { version: 1, rules: rules.map(toRule) };
}

/** @throws PolicyFileError */
function fromYaml(text: string, lineCounter: LineCounter) {
  try {
    const document = parseDocument(text, { lineCounter });
    const [syntax] = document.errors;
    if (syntax !== undefined) throw syntax;
    // Aliases are looked up here: one may have no anchor, or many may make much of little text.
    return { document, value: document.toJS() as unknown };
  } catch (error) {
    throw new PolicyFileError([`no YAML: ${error instanceof Error ? error.message.trimEnd() : error}`]);
  }
}

function toRule({ name, readOnlyViewsOnly, idmap, sizeLimit, size, ...rule }: ParsedRule, i: number): Rule {
  const place = `rules[${i}]`;
  return {
    ...rule,
    label: name === undefined ? place : `${name} (${place})`,
    namespaces: rule.namespaces,
    serviceAccounts: rule.serviceAccounts,
    helpers: new Map(
      [...rule.helpers].map(([key, helper]) => [
        key,
        { ...helper, program: helper.program, user: helper.user },
      ]),
    ),
    readOnlyViewsOnly: readOnlyViewsOnly ?? rule.class === 'inline',
    idmap: { kinds: idmap.kinds, onDisk: idmap.onDisk, shown: idmap.shown },
    sizeLimit: { default: sizeLimit.default, max: sizeLimit.max },
    size: { max: size.max },
    maxVolumes: rule.maxVolumes,
  };
}

/** Each key of a rule is well-formed; do they make sense? */
function ruleProblems(rule: ParsedRule): Problem[] {
  return [
    ...rule.types.flatMap(({ text }, i) => at(['types', i], typeProblem(text, rule))),
    ...rule.roots.flatMap((root, i) => at(['roots', i], rootProblem(root, rule))),
    ...[...rule.options].flatMap(([type, options]) => optionProblems(['options', type], options.keys())),
    ...[...rule.helpers].flatMap(([name, { options, program }]) => [
      ...at(['helpers', name], HELPER_NAME.test(name) ? undefined : 'is no name of a program'),
      ...at(['helpers', name, 'program'], programProblem(program)),
      ...optionProblems(['helpers', name, 'options'], options.keys()),
    ]),
    ...[...rule.sources.keys()].flatMap((type) =>
      at(['sources', type], isNetwork(type) ? undefined : 'sources of this type are paths: they go by roots'),
    ),
    ...at(['sizeLimit', 'default'], sizeProblem(rule)),
  ];
}

const at = (place: Place, message: string | undefined): Problem[] =>
  message === undefined ? [] : [{ place, message }];

function typeProblem(text: string, { helpers, sources, fsTypes }: ParsedRule): string | undefined {
  if (INTERFACES.has(text))
    return `${text} shows the node itself, or has no bounds, and can never be a volume`;
  const helper = helperOf(text);
  if (helper !== undefined && !text.includes('*') && !helpers.has(helper)) {
    return `${text} needs a row ${helper} in helpers`;
  }
  if (isNetwork(text) && !sources.has(text)) return `${text} needs a row ${text} in sources`;
  if (text === 'image' && fsTypes.length === 0)
    return 'image needs fsTypes, which filesystems images may hold';
  return undefined;
}

function optionProblems(place: Place, names: Iterable<string>): Problem[] {
  return [...names].flatMap((name) => {
    const why = forbidden(name);
    return at([...place, name], why && `no rule can allow the option ${name}: ${why}`);
  });
}

/**
 * Symbolic links lead from one directory to another below the same root, so that what is stricter about a root within
 * another would hold for nobody who can make a link.
 */
function rootProblem(root: Root, { class: of, roots }: ParsedRule): string | undefined {
  if (of === 'inline' && root.trusted) {
    return 'trusted has no meaning in an inline rule: what overlays follow in trusted layers is never for inline volumes';
  }
  const outer = roots.find(
    (other) => other !== root && mayContain(other.path, root.path) && isLooser(other, root),
  );
  if (outer === undefined) return undefined;
  return `${root.path} (${showRules(root)}) lies within ${outer.path} (${showRules(outer)}), from where a symbolic link leads to it; give both the same, or put them into different rules`;
}

/**
 * A root itself is found by whatever leads there: who may write to the directory that it lies in may put a link in its
 * place. Of persistent volumes administrators say what is written to.
 */
function replaceableRoots({ roots }: ParsedRule, rules: readonly ParsedRule[]): Problem[] {
  const writable = rules
    .filter((rule) => rule.class === 'inline')
    .flatMap((rule) => rule.roots.filter(({ access }) => access === 'read-write'));
  return roots.flatMap((root, i) => {
    const outer = writable.find(({ path }) => path !== root.path && mayContain(path, root.path));
    if (outer === undefined) return [];
    const message = `${root.path} lies within ${outer.path}, which the authors of inline volumes may write to: they could put a link in its place; use directories beside each other`;
    return [{ place: ['roots', i], message }];
  });
}

const isLooser = (outer: Root, inner: Root): boolean =>
  (outer.access === 'read-write' && inner.access === 'read-only') ||
  (outer.trusted && !inner.trusted) ||
  (!outer.requireMountpoint && inner.requireMountpoint);

const showRules = ({ access, trusted, requireMountpoint }: Root): string =>
  [access, ...(trusted ? ['trusted'] : []), ...(requireMountpoint ? ['requireMountpoint'] : [])].join(', ');

/** Of whatever name: one that restricts a helper, and starts it then, is best not called as the helper is. */
function programProblem(program: string | undefined): string | undefined {
  if (program === undefined) return undefined;
  const isPath = /^(?:\/[^/]+)+$/.test(program) && !program.split('/').includes('..');
  return isPath && !hasControl(program) ? undefined : 'must be the absolute path of the program';
}

function sizeProblem({ sizeLimit: { default: own, max } }: ParsedRule): string | undefined {
  return own !== undefined && max !== undefined && own > max ? 'is larger than max' : undefined;
}

function problemsOf(issue: z.core.$ZodIssue, value: unknown): Problem[] {
  const given = issue.path.reduce<unknown>(
    (node, key) => (node as Record<PropertyKey, unknown>)?.[key],
    value,
  );
  const shown = ['string', 'number', 'boolean'].includes(typeof given) ? `${JSON.stringify(given)}: ` : '';
  const message = issue.message.replace(/^Invalid (input|option): /, '');
  return [{ place: issue.path, message: `${shown}${message}` }];
}

function showPlace(place: Place): string {
  if (place.length === 0) return 'the file';
  return place
    .map((key, i) => (typeof key === 'number' ? `[${key}]` : i === 0 ? String(key) : `.${String(key)}`))
    .join('');
}
