// The entry: picks a command. Each command's code is loaded when it is called, so that none waits for another's.
import { Command, Option } from 'commander';
import { collectOptions, withKernelFlags } from './cli/options.ts';
import { OPTIONS, type OptionRow, type OptionTable, PLACE_OPTIONS, variableOf } from './config.ts';
import { FUSE_HOST_OPTIONS } from './fuse-host-config.ts';
import { VERSION } from './version.ts';

const program = new Command('csi-driver-idmap')
  .description('CSI node plugin for ID-mapped mounts, and its mount engine as commands')
  .version(VERSION)
  .enablePositionalOptions()
  .showHelpAfterError();

const serve = program.command('serve').description('run the plugin until SIGTERM');
withOptions(serve, OPTIONS, async (flags) => {
  const { serveCommand } = await import('./cli/serve.ts');
  await serveCommand(flags);
});

const fuseHost = program
  .command('fuse-host')
  .description(
    'run FUSE helpers for the plugin (serve --fuse-mode host) until SIGTERM, so that they outlive it',
  );
withOptions(fuseHost, FUSE_HOST_OPTIONS, async (flags) => {
  const { fuseHostCommand } = await import('./cli/fuse-host.ts');
  await fuseHostCommand(flags);
});

const typeFlag = [
  '-t, --types <type>',
  'bind, overlay, tmpfs, fuse.HELPER, one of the kernel, or auto (default: bind with -o bind, else auto)',
] as const;
const optionFlag = ['-o, --options <list>', 'options as in fstab(5); may be repeated'] as const;
const jsonFlag = ['--json', 'print the result as JSON'] as const;

withKernelFlags(program.command('mount'))
  .description('mount SOURCE at TARGET')
  .argument('<source>')
  .argument('<target>')
  .option(...typeFlag)
  .option(...optionFlag, collectOptions)
  .option(...jsonFlag)
  .addHelpText('after', examples('mount'))
  .action(async (source, target, flags) => {
    const { mountCommand } = await import('./cli/mount.ts');
    await mountCommand(source, target, flags);
  });

program
  .command('unmount')
  .description('take away the mount at TARGET')
  .argument('<target>')
  .option('--all', 'every mount of a stack, not only the top one')
  .option('--recursive', 'everything that is mounted at TARGET and below it, deepest first')
  .option('--lazy', 'out of sight at once, away when its last user is gone')
  .option('--force', 'cut a FUSE filesystem off from its server first: for one that does not answer')
  .option(...jsonFlag)
  .action(async (target, flags) => {
    const { unmountCommand } = await import('./cli/unmount.ts');
    await unmountCommand(target, flags);
  });

withKernelFlags(program.command('plan'))
  .description('print the steps of a mount, or of a volume, without doing them')
  .argument('[source]')
  .argument('[target]')
  .option(...typeFlag)
  .option(...optionFlag, collectOptions)
  .option('--volume-context <file>', 'volumeAttributes as a JSON object')
  .option('--policy <file>', 'whether the volume may be had, by this policy (default: the built-in one)')
  .option(...jsonFlag)
  .addHelpText('after', examples('plan'))
  .action(async (source, target, flags) => {
    const { planCommand } = await import('./cli/plan.ts');
    planCommand(source, target, flags);
  });

program
  .command('userns')
  .description('run COMMAND in a user namespace of a mapping, to check it; exit status of COMMAND')
  .argument('<command...>')
  .requiredOption('--uidmap <mapping>', 'container:host:size, several separated by commas')
  .requiredOption('--gidmap <mapping>', 'the same for groups')
  // Options after COMMAND are its own.
  .passThroughOptions()
  .addHelpText(
    'after',
    '\nExample:\n  csi-driver-idmap userns --uidmap 0:100000:65536 --gidmap 0:100000:65536 -- cat /proc/self/uid_map',
  )
  .action(async (command, flags) => {
    const { usernsCommand } = await import('./cli/userns.ts');
    await usernsCommand(command, flags);
  });

const doctor = program
  .command('doctor')
  .description(
    'say what this kernel and machine support, and what is missing for what; on a node also its volumes and FUSE helpers',
  )
  .option('--policy <file>', 'say also what this policy allows, or what is wrong with it')
  .option(...jsonFlag);
withOptions(doctor, PLACE_OPTIONS, async (places, flags) => {
  const { doctorCommand } = await import('./cli/doctor.ts');
  await doctorCommand(places, flags);
});

program
  .command('demo')
  .description('the main job on real input: one data set, two pods, each with the owners it expects (root)')
  .action(async () => {
    const { demoCommand } = await import('./cli/demo.ts');
    await demoCommand();
  });

try {
  await program.parseAsync();
} catch (error) {
  for (const one of causes(error))
    console.error(`csi-driver-idmap: ${one instanceof Error ? one.message : one}`);
  process.exitCode ??= 1;
}

/** An error during the clean-up after an error comes with it: the first is the one that matters. */
function causes(error: unknown): unknown[] {
  return error instanceof SuppressedError ? [...causes(error.suppressed), ...causes(error.error)] : [error];
}

type Flags = Readonly<Record<string, string | undefined>>;

/** A flag for each row of the table; `run` gets them by their names, and all flags of the command as commander has them. */
function withOptions<S extends object>(
  command: Command,
  table: OptionTable<S>,
  run: (flags: Flags, all: Readonly<Record<string, string>>) => Promise<void>,
): void {
  const rows = Object.values<OptionRow<unknown>>(table);
  for (const { flag, placeholder, meaning, list, fallback, variable = variableOf(flag) } of rows) {
    const shown = /\(default/.test(meaning) ? meaning : `${meaning} (default: ${fallback({})})`;
    const option = new Option(`--${flag} <${placeholder}>`, `${shown} [env: ${variable}]`);
    if (list)
      option.argParser((text, before?: string) => (before === undefined ? text : `${before},${text}`));
    command.addOption(option);
  }
  command.action(async (options: Record<string, string>) => {
    // commander turns --node-id into nodeId; the table speaks of flags.
    await run(Object.fromEntries(rows.map(({ flag }) => [flag, options[camelCase(flag)]])), options);
  });
}

function camelCase(flag: string): string {
  return flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function examples(command: string): string {
  return `
Examples:
  csi-driver-idmap ${command} -o rbind,ro /srv/data /mnt
  csi-driver-idmap ${command} -o loop,ro /srv/images/app.squashfs /mnt
  csi-driver-idmap ${command} -t tmpfs -o size=64m,mode=0750 tmpfs /mnt
  csi-driver-idmap ${command} -t overlay -o lowerdir=/srv/b:/srv/a,uidmap=0:100000:65536,gidmap=0:100000:65536 overlay /mnt`;
}
