// Loaded before the plugin (`node --import`): its clock of the day is off by as many milliseconds as the file CLOCK_FILE
// says, from one moment to the next, as when somebody sets the node's. Neither the kernel's nor the monotonic clock is.
import fs from 'node:fs';

const file = process.env.CLOCK_FILE ?? '';
const { readFileSync } = fs;
const RealDate = Date;

const now = (): number => RealDate.now() + Number(readFileSync(file, 'utf8'));

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args, self) => Reflect.construct(target, args.length === 0 ? [now()] : args, self),
  get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
});
