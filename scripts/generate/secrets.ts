// Renders src/rpc/generated/secrets.ts: for every message of our proto files, which fields carry the
// csi_secret annotation and which lead to further messages; and for every method, its request's type.

export function renderSecrets(set: FileDescriptorSet): string {
  const files = set.file.filter((file) => !file.name.startsWith('google/'));
  const messages = files
    .flatMap((file) => messagesOf(file.messageType ?? [], file.package))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const own = new Set(messages.map(({ name }) => name));
  const methods = files.flatMap((file) =>
    (file.service ?? []).flatMap((service) =>
      (service.method ?? []).map((method) => ({
        path: `/${file.package}.${service.name}/${method.name}`,
        type: method.inputType.slice(1),
      })),
    ),
  );
  return [
    '// Made by `npm run generate` from the annotations in proto/; do not edit. Read by src/rpc/redact.ts.',
    '',
    '/** The type of the request, by the path of the method. */',
    'export const requestTypes: { readonly [path: string]: string } = {',
    ...methods.map(({ path, type }) => `  '${path}': '${type}',`),
    '};',
    '',
    '/** By message type: fields marked csi_secret, those that hold messages with the type of these, oneofs. */',
    'export const messages: {',
    '  readonly [type: string]: {',
    '    readonly secret: readonly string[];',
    '    readonly nested: { readonly [field: string]: string };',
    '    readonly oneofs: readonly string[];',
    '  };',
    '} = {',
    ...messages.map((message) => `  '${message.name}': ${renderMessage(message, own)},`),
    '};',
    '',
  ].join('\n');
}

/** The parts of protobuf's JSON form of a FileDescriptorSet that are read here. */
export interface FileDescriptorSet {
  readonly file: readonly {
    readonly name: string;
    readonly package: string;
    readonly messageType?: readonly Message[];
    readonly service?: readonly {
      readonly name: string;
      readonly method?: readonly { readonly name: string; readonly inputType: string }[];
    }[];
  }[];
}

interface Message {
  readonly name: string;
  readonly field?: readonly Field[];
  readonly nestedType?: readonly Message[];
  readonly oneofDecl?: readonly { readonly name: string }[];
  readonly options?: { readonly mapEntry?: boolean };
}

interface Field {
  readonly name: string;
  readonly jsonName: string;
  readonly typeName?: string;
  readonly type: string;
  readonly options?: { readonly '[csi.v1.csi_secret]'?: boolean };
}

interface NamedMessage {
  readonly name: string;
  readonly fields: readonly Field[];
  readonly oneofs: readonly string[];
}

function messagesOf(messages: readonly Message[], prefix: string): NamedMessage[] {
  return messages
    .filter((message) => !message.options?.mapEntry)
    .flatMap((message) => {
      const name = `${prefix}.${message.name}`;
      for (const entry of message.nestedType ?? []) assertPlainMap(name, entry);
      const oneofs = (message.oneofDecl ?? []).map((oneof) => camelCase(oneof.name));
      return [{ name, fields: message.field ?? [], oneofs }, ...messagesOf(message.nestedType ?? [], name)];
    });
}

/** The redaction walks fields and lists, not maps of messages; CSI has none. */
function assertPlainMap(owner: string, entry: Message): void {
  const value = entry.options?.mapEntry ? entry.field?.find(({ name }) => name === 'value') : undefined;
  if (value?.type === 'TYPE_MESSAGE') {
    throw new Error(`${owner}.${entry.name} is a map of messages: teach src/rpc/redact.ts to walk it first`);
  }
}

/** As protobuf makes a field's JSON name; a oneof has none of its own. */
function camelCase(name: string): string {
  return name.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

function renderMessage({ fields, oneofs }: NamedMessage, own: ReadonlySet<string>): string {
  const secret = fields
    .filter((field) => field.options?.['[csi.v1.csi_secret]'] === true)
    .map((field) => `'${field.jsonName}'`);
  const nested = fields
    .filter((field) => field.typeName !== undefined && own.has(field.typeName.slice(1)))
    .filter((field) => field.type === 'TYPE_MESSAGE')
    .map((field) => `${field.jsonName}: '${field.typeName?.slice(1)}'`);
  const lists = [
    `secret: [${secret.join(', ')}]`,
    `nested: {${nested.length > 0 ? ` ${nested.join(', ')} ` : ''}}`,
    `oneofs: [${oneofs.map((name) => `'${name}'`).join(', ')}]`,
  ];
  return `{ ${lists.join(', ')} }`;
}
