// dependency-cruiser reads TypeScript through the compiler's JavaScript API, which TypeScript 7 does not have. It
// asks for `typescript`; this hook gives it the package typescript-api, an older one that does.
import { registerHooks } from 'node:module';

registerHooks({
  resolve(specifier, context, next) {
    const asked = /^typescript(\/.*)?$/.exec(specifier);
    const isForCruiser = context.parentURL?.includes('/dependency-cruiser/');
    return next(asked && isForCruiser ? `typescript-api${asked[1] ?? ''}` : specifier, context);
  },
});
