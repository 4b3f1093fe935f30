// All that a call could leave on a node, as lines that two moments are compared by.
//
//   mount        with what tells it from another one
//   record       file and state
//   name         every file and directory below the node's own directory, what is in mounted filesystems aside
//   device       of the loop driver
//   descriptor   of the plugin and of its engine's processes, by what it leads to
//   process      below the test: the plugin, its engine, helpers of FUSE filesystems, children for user namespaces
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { descendants, openDescriptors, type Process } from '../support/leaks.ts';
import type { TestNode } from './node.ts';
import { devicesOf } from './specimens.ts';

export type NodeState = readonly string[];

/** What comes and goes by itself: connections of callers, and user namespaces, of which the engine keeps some. */
const PASSING = /^(socket:|user:|\/proc\/|\/sys\/)/;
/** What the tests themselves keep there, and the processes under test have open for a moment. */
const OF_TESTS = /\/(faults|crash)(\/|$)/;
/** What the kernel makes in a workdir. */
const OF_KERNEL = /\/work\/(work|index)(\/|$)/;

export function stateOf(node: TestNode): NodeState {
  const processes = descendants(process.pid).filter(({ command }) => !command.startsWith('(state'));
  const looksSo = ({ command }: Process) => command.includes('engine-process');
  const engines = new Set(processes.filter(looksSo).map(({ pid }) => pid));
  // A child that it has cloned (sys/cloned-child.ts) has its name, and is none.
  const isEngine = (one: Process) => looksSo(one) && !engines.has(one.parent);
  const plugins = processes.filter((one) => isEngine(one) || /\bserve\b/.test(one.command));
  return [
    ...node
      .mounts()
      .map(({ target, type, device, options }) => `mount ${target} ${type} ${device} ${options}`),
    ...node.records().map(({ file, text }) => `record ${file} ${JSON.parse(text).state}`),
    ...namesBelow(node.directory, lstatSync(node.directory).dev).map((name) => `name ${name}`),
    ...devicesOf(node).map((name) => `device ${name}`),
    ...plugins.flatMap(({ pid }) => descriptorsOf(pid).map((leadsTo) => `descriptor of ${pid} ${leadsTo}`)),
    // Of those there is another one when there is more to do at a time, for good.
    ...processes
      .filter((one) => !isEngine(one))
      .map(({ pid, command }) => `process ${pid} ${command.replace(/ \(state .\)$/, '')}`),
  ];
}

/** A line each, with a sign. */
export function difference(before: NodeState, after: NodeState): string[] {
  const rest = [...before];
  const known = new Set(before.flatMap(processOf));
  const more = after.filter((line) => {
    // Of a process that is new itself.
    if (!processOf(line).every((one) => known.has(one))) return false;
    const at = rest.indexOf(line);
    if (at !== -1) rest.splice(at, 1);
    return at === -1;
  });
  return [...more.map((line) => `+ ${line}`), ...rest.map((line) => `- ${line}`)];
}

const processOf = (line: string): string[] => /^descriptor of (\d+) /.exec(line)?.slice(1) ?? [];

function namesBelow(directory: string, device: number): string[] {
  return entriesOf(directory).flatMap((name) => {
    const path = join(directory, name);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined || OF_TESTS.test(path) || OF_KERNEL.test(path)) return [];
    if (!found.isDirectory()) return [path];
    return [path, ...(found.dev === device ? namesBelow(path, device) : [])];
  });
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // Removed meanwhile.
  }
}

function descriptorsOf(pid: number): string[] {
  try {
    return openDescriptors(pid)
      .map((line) => line.replace(/^\d+ /, ''))
      .filter((target) => !PASSING.test(target) && !OF_TESTS.test(target));
  } catch {
    return [];
  }
}
