// Options as the data of mount(2), one text in which a comma ends an option. Who reads a comma within one:
//
//   option                         a comma in it
//   labels (context= and its kin)  in double quotes: security modules take theirs out of the text before the filesystem
//                                  sees it, and know no other way (selinux_sb_eat_lsm_opts); mount(8) does the same
//   mpol= (tmpfs)                  as it is: with a digit behind it, it ends no option (shmem_next_opt)
//   any other of an overlay        `\,` (ovl_next_opt)
//   any other                      nobody: it is refused
import { invalidMount } from './errors.ts';
import { keyAndValue } from './options.ts';

const LABELS: ReadonlySet<string> = new Set(['context', 'fscontext', 'defcontext', 'rootcontext']);

/** @throws MountError (invalid-mount) for a comma that would end its option */
export function dataOf(type: string, options: readonly string[]): string {
  return options.map((option) => (option.includes(',') ? withComma(type, option) : option)).join(',');
}

function withComma(type: string, option: string): string {
  const [key, value = ''] = keyAndValue(option);
  if (LABELS.has(key)) {
    if (value.includes('"'))
      throw invalidMount(`option ${JSON.stringify(option)}: a label has no quotation mark; remove it`);
    return `${key}="${value}"`;
  }
  if (key === 'mpol') return option;
  if (type === 'overlay') return escapeCommas(option);
  throw invalidMount(
    `option ${JSON.stringify(option)}: mount(2) would end it at its comma, of which ${type} knows no other way; leave the ` +
      'comma out, or use a kernel with fsopen(2), Linux 5.2',
  );
}

/** An option that has its escapes already, as users write them, keeps them. */
function escapeCommas(option: string): string {
  return option.replace(/\\.|,/g, (found) => (found === ',' ? '\\,' : found));
}
