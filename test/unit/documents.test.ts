// What people read: every link leads somewhere, and what can be typed is in the list of it.
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';

const ROOT = join(import.meta.dirname, '../..');
const PAGES = globSync(
  ['*.md', '{docs,charts,examples,bench,test}/**/*.md'],
  // Kubernetes, built for the test cluster, has pages of its own.
  { cwd: ROOT, exclude: (path) => /node_modules|\.tools|dist/.test(String(path)) },
).toSorted();

const read = (page: string): string => readFileSync(join(ROOT, page), 'utf8');
const withoutCode = (text: string): string => text.replace(/```.*?```/gs, '').replace(/`[^`\n]*`/g, '');

/** Of all links, inline ones and those by reference, where they lead. */
function linksIn(page: string): string[] {
  const text = withoutCode(read(page));
  const inline = [...text.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)];
  const referred = [...text.matchAll(/^\[[^\]]+\]:\s+<?(\S+?)>?\s*$/gm)];
  return [...inline, ...referred].map(([, to = '']) => to);
}

/** The fragments that GitHub gives the headings of a page. */
function anchorsOf(page: string): Set<string> {
  const text = read(page).replace(/```.*?```/gs, '');
  const anchors = new Set<string>();
  for (const [, heading = ''] of text.matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)) {
    const words = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[`*]/g, '');
    const slug = words
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-');
    for (let n = 0; ; n++) {
      const anchor = n === 0 ? slug : `${slug}-${n}`;
      if (anchors.has(anchor)) continue;
      anchors.add(anchor);
      break;
    }
  }
  return anchors;
}

/** What is wrong with a link; undefined when it leads somewhere, or out of the tree. */
function problemOf(page: string, link: string): string | undefined {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return undefined;
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? page : join(dirname(page), decodeURIComponent(path));
  if (!existsSync(join(ROOT, target))) return `${link}: there is no ${target}`;
  if (anchor === undefined || !target.endsWith('.md')) return undefined;
  return anchorsOf(target).has(anchor) ? undefined : `${link}: ${target} has no heading of that name`;
}

describe('the pages', () => {
  it('are found', () => {
    expect(PAGES).to.include.members([
      'README.md',
      'docs/operations.md',
      'charts/csi-driver-idmap/README.md',
    ]);
    expect(PAGES.flatMap(linksIn).length).to.be.greaterThan(100);
  });

  for (const page of PAGES) {
    it(`${page}: every link leads somewhere`, () => {
      expect(linksIn(page).flatMap((link) => problemOf(page, link) ?? [])).to.deep.equal([]);
    });
  }

  it('docs/: the README, or a page that it leads to, leads to each', () => {
    const reached = new Set(['README.md']);
    for (const page of reached) {
      for (const link of linksIn(page)) {
        const target = join(dirname(page), link.split('#')[0] ?? '');
        // A directory is shown with a list of what is in it.
        for (const one of PAGES)
          if (one === target || dirname(one) === target.replace(/\/$/, '')) reached.add(one);
      }
    }
    const pages = PAGES.filter((page) => page.startsWith('docs/'));
    expect(pages.filter((page) => !reached.has(page))).to.deep.equal([]);
  });
});

describe('make help', () => {
  it('has every target that is there to be typed', () => {
    const targets = [...read('Makefile').matchAll(/^\.PHONY:(.*)$/gm)].flatMap(([, names = '']) =>
      names.trim().split(/\s+/),
    );
    const help = execFileSync('make', ['--no-print-directory', 'help'], { cwd: ROOT, encoding: 'utf8' });
    const listed = [...help.matchAll(/^ {2}make ([a-z-]+)/gm)].map(([, name]) => name);
    expect(listed).to.have.members(targets);
  });
});
