// `npm run lint:returns`: in a block with `using`, a promise that is returned must be awaited. Otherwise what the block
// holds, a lock for example, is let go of before the work is done, and nothing says so.
import path from 'node:path';
import ts from 'typescript-api';

const { fileNames, options } = project();
const program = ts.createProgram(fileNames, options);
const checker = program.getTypeChecker();
const found = fileNames.flatMap((name) => {
  const file = program.getSourceFile(name);
  return file === undefined ? [] : problemsOf(file);
});
for (const problem of found) console.error(problem);
if (found.length > 0) process.exitCode = 1;

function project() {
  const root = path.join(import.meta.dirname, '..');
  const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), ts.sys.readFile);
  return ts.parseJsonConfigFileContent(config, ts.sys, root);
}

function problemsOf(file: ts.SourceFile): string[] {
  const problems: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isReturnStatement(node) && node.expression && isUnawaited(node.expression) && isBelowUsing(node)) {
      const { line } = file.getLineAndCharacterOfPosition(node.getStart());
      const place = `${path.relative(process.cwd(), file.fileName)}:${line + 1}`;
      problems.push(`${place}: a promise is returned out of a block with \`using\`: await it there`);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return problems;
}

function isUnawaited(expression: ts.Expression): boolean {
  return !ts.isAwaitExpression(expression) && isThenable(checker.getTypeAtLocation(expression));
}

function isThenable(type: ts.Type): boolean {
  return type.isUnion() ? type.types.some(isThenable) : type.getProperty('then') !== undefined;
}

/** Whether something is held, by a declaration before it, that is let go of when it is carried out. */
function isBelowUsing(node: ts.Node): boolean {
  for (let inner = node, { parent } = node; parent !== undefined; inner = parent, { parent } = parent) {
    if (ts.isBlock(parent) && parent.statements.some((other) => other.pos < inner.pos && isUsing(other)))
      return true;
    if (ts.isFunctionLike(parent)) return false;
  }
  return false;
}

function isUsing(statement: ts.Statement): boolean {
  if (!ts.isVariableStatement(statement)) return false;
  const kind = statement.declarationList.flags & ts.NodeFlags.BlockScoped;
  return kind === ts.NodeFlags.Using || kind === ts.NodeFlags.AwaitUsing;
}
