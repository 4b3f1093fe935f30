// Where sources may lie: the roots of a rule as they are for one volume. Textual; symbolic links are the engine's
// affair, which opens every source beneath the root that is chosen here.
//
//   the pod is known     `${namespace}` and `${serviceAccount}` are its own
//   it is not (stage)    each stands for one component of the source's path, the same wherever it occurs; publish,
//                        which knows the pod, looks again
import path from 'node:path/posix';
import { hasControl } from '../volume/parse.ts';
import type { PodInfo } from '../volume/volume.ts';
import type { Root } from './policy.ts';

/** The variables of a root's path, and what their values look like (Kubernetes, object names). */
const LABEL = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?';
const VARIABLES = {
  namespace: LABEL,
  serviceAccount: `${LABEL}(?:\\.${LABEL})*`,
} as const;
type Variable = keyof typeof VARIABLES;

const REFERENCE = /\$\{(\w+)\}/;

/** Values of variables, as far as they are known. Filled by matchRoot(). */
export type Bindings = Map<string, string>;

export function bindingsOf(pod: PodInfo | undefined): Bindings {
  if (pod === undefined) return new Map();
  return new Map<Variable, string>([
    ['namespace', pod.namespace],
    ['serviceAccount', pod.serviceAccount],
  ]);
}

/**
 * The root as it is for this source, when the source is the root or lies below it; undefined when not. Variables that
 * the path decides are added to `bindings`.
 */
export function matchRoot(root: Root, source: string, bindings: Bindings): string | undefined {
  const wanted = componentsOf(root.path);
  const given = componentsOf(source);
  if (given.length < wanted.length) return undefined;
  const found = new Map(bindings);
  if (!wanted.every((component, i) => matches(component, given[i] ?? '', found))) return undefined;
  for (const [name, value] of found) bindings.set(name, value);
  return `/${given.slice(0, wanted.length).join('/')}`;
}

/** For messages: the root with what is known of its variables. */
export function showRoot({ path: root, access }: Root, bindings: Bindings): string {
  const shown = root.replace(
    new RegExp(REFERENCE, 'g'),
    (reference, name: string) => bindings.get(name) ?? reference,
  );
  return `${shown} (${access})`;
}

/** Whether `inner` is `outer` or lies below it, for some values of the variables. */
export function mayContain(outer: string, inner: string): boolean {
  const [a, b] = [componentsOf(outer), componentsOf(inner)];
  return a.length <= b.length && a.every((component, i) => mayBeEqual(component, b[i] ?? ''));
}

/** Whether the path is `directory`, or lies below it. */
export function isWithin(source: string, directory: string): boolean {
  return directory === '/' || source === directory || source.startsWith(`${directory}/`);
}

/** Without doubled slashes and dots; undefined for what is no plain absolute path. */
export function plainPath(text: string): string | undefined {
  if (!text.startsWith('/') || hasControl(text) || text.split('/').includes('..')) return undefined;
  return path.normalize(text).replace(/(.)\/$/, '$1');
}

/** Why this cannot be the path of a root, or undefined. */
export function rootProblem(text: string): string | undefined {
  if (plainPath(text) !== text)
    return 'must be an absolute path without . and .. and doubled or trailing slashes';
  for (const component of componentsOf(text)) {
    const [, name, ...rest] = component.split(REFERENCE);
    if (rest.length > 1) return 'has two variables in one component: different pods could mean one directory';
    if (name !== undefined && !Object.hasOwn(VARIABLES, name)) {
      return `has a variable ${name}; there are ${Object.keys(VARIABLES).join(' and ')}`;
    }
    if (component.replace(REFERENCE, '').includes('$')) return 'has a $ that begins no variable';
  }
  return undefined;
}

function componentsOf(text: string): string[] {
  return text.split('/').filter((component) => component !== '');
}

function matches(component: string, given: string, found: Bindings): boolean {
  const [before = '', name, after = ''] = component.split(REFERENCE);
  if (name === undefined) return component === given;
  if (!given.startsWith(before) || !given.endsWith(after)) return false;
  const value = given.slice(before.length, given.length - after.length);
  if (!isValue(name, value)) return false;
  const known = found.get(name);
  if (known !== undefined) return known === value;
  found.set(name, value);
  return true;
}

function isValue(name: string, value: string): boolean {
  const form = VARIABLES[name as Variable] as string | undefined;
  return form !== undefined && value.length <= 253 && new RegExp(`^(?:${form})$`).test(value);
}

function mayBeEqual(a: string, b: string): boolean {
  const [aBefore = '', aName] = a.split(REFERENCE);
  const [bBefore = '', bName] = b.split(REFERENCE);
  if (aName === undefined && bName === undefined) return a === b;
  if (aName !== undefined && bName !== undefined)
    return aBefore.startsWith(bBefore) || bBefore.startsWith(aBefore);
  const [variable, fixed] = aName === undefined ? [b, a] : [a, b];
  return matches(variable, fixed, new Map());
}
