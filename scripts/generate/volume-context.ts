// The reference of the volume context, for people (docs/volume-context.md) and for editors and linters of manifests
// (docs/volume-context.schema.json): both from the table that the driver reads contexts by.
import { FOREIGN_PREFIXES, typesOf } from '../../src/volume/context.ts';
import { KEYS, type Key, MOUNTS_KEY } from '../../src/volume/keys.ts';
import { head, table } from './markdown.ts';

interface Topic {
  readonly title: string;
  readonly keys: readonly Key[];
  readonly text: string;
}

const TOPICS: readonly Topic[] = [
  {
    title: 'What the volume is',
    keys: ['type', 'source', 'options'],
    text: `\`ro\` among the options of a \`bind\` is refused unless the request is read-only: the container runtime binds the
volume again with flags of its own. Set \`readOnly: true\` in the pod, or take an \`overlay\` or an image, which are
read-only by themselves. A path never comes in through an option: it has a key of its own, where it is checked.`,
  },
  {
    title: 'Overlays',
    keys: ['lowerdir', 'writable', 'upperdir', 'workdir'],
    text: `Without \`writable\` and \`upperdir\` an overlay is read-only, in the container too. A persistent one is mounted once per
node, and its pods share it; an ephemeral one is each pod's own.`,
  },
  {
    title: 'Sizes',
    keys: ['sizeLimit'],
    text: `Quantities are those of Kubernetes: \`64Mi\`, \`1.5Gi\`, \`10G\`, \`1e9\`; neither milli-bytes nor exa-bytes. Policy may set a
limit where a volume has none, and a largest one.`,
  },
  {
    title: 'Images',
    keys: ['fsType', 'mkfs', 'size'],
    text: `An image that will be written is checked before it is mounted, ext4 by e2fsck. One that is there is never made anew,
whatever its size. With \`volumeMode: Block\` the pod gets the image itself as a block device, and only \`type\` and
\`source\` have a meaning.`,
  },
  {
    title: 'Whose files the pod sees',
    keys: ['idmap', 'uidmap', 'gidmap', 'owner', 'nestedDir'],
    text: `At most one of \`idmap: pod\`, \`uidmap\` with \`gidmap\`, and \`owner\`. No file is touched: the ids are shown differently, by
ID-mapped mounts. Of an overlay the lower layers are mapped; what its users write is theirs already.`,
  },
];

export function volumeContextPage(): string {
  const missing = Object.keys(KEYS).filter((key) => !TOPICS.some(({ keys }) => keys.includes(key as Key)));
  if (missing.length > 0) throw new Error(`no topic of the reference has the keys ${missing.join(', ')}`);
  return `${head('Volume context', 'src/volume/keys.ts')}
The keys of \`volumeAttributes\` in a PersistentVolume (or an inline volume). All values are strings. In bold the types
that require a key. An unknown key, or one that has no meaning for the type, is refused with \`INVALID_ARGUMENT\`.
[volume-context.schema.json](volume-context.schema.json) is the same as a JSON schema, and [examples/](../examples) has a
manifest for each kind of volume.

${TOPICS.map(section).join('\n\n')}

## Several mounts

\`${MOUNTS_KEY.name}\`: ${MOUNTS_KEY.meaning}

\`\`\`json
${JSON.stringify(JSON.parse(MOUNTS_KEY.example), null, 2)}
\`\`\``;
}

function section({ title, keys, text }: Topic): string {
  const rows = keys.map((key) => {
    const { kinds, required, meaning, example } = KEYS[key];
    const types = kinds.map((kind) => (required.includes(kind) ? `**${typesOf(kind)}**` : typesOf(kind)));
    return [`\`${key}\``, types.length === ALL_KINDS ? 'all' : types.join(', '), meaning, `\`${example}\``];
  });
  return `## ${title}\n\n${table(['key', 'types', 'meaning', 'example'], rows)}\n\n${text}`;
}

const ALL_KINDS = KEYS.type.kinds.length;

/** For the form of each value; what keys mean to each other, the driver says. */
export function volumeContextSchema(): string {
  const keys = { ...KEYS, [MOUNTS_KEY.name]: { ...MOUNTS_KEY, pattern: '^\\s*\\[' } };
  const foreign = FOREIGN_PREFIXES.map((prefix) => prefix.replaceAll('.', '\\.')).join('|');
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $comment: 'Made from src/volume/keys.ts by `npm run generate`: change it there.',
    title: 'volumeAttributes of csi-driver-idmap',
    type: 'object',
    properties: Object.fromEntries(
      Object.entries(keys).map(([key, { pattern, meaning, example }]) => [
        key,
        { type: 'string', pattern, description: meaning, examples: [example] },
      ]),
    ),
    patternProperties: { [`^(${foreign})`]: { type: 'string' } },
    additionalProperties: false,
  };
  return JSON.stringify(schema, null, 2);
}
