// What the generated pages have in common.

export function head(title: string, source: string): string {
  return `# ${title}\n\n<!-- Made from ${source} by \`npm run generate\`: change it there. -->\n`;
}

export function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n');
}
