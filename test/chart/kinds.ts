// What Kubernetes' own descriptions of its types (OpenAPI) say of an object: fields that are missing, or of another type.
// Fields that there are not, the API server's code finds (api-server.ts): OpenAPI allows them.
import type { KubernetesObject } from './helm.ts';

interface Model {
  /** @throws Error that tells all that is wrong */
  validate(): void;
}

type Models = Readonly<Record<string, new (object: unknown) => Model>>;

/** The server has no description of its own for what others define. */
export const isOfKubernetes = ({ apiVersion }: KubernetesObject): boolean =>
  !apiVersion.startsWith('monitoring.');

/** What is wrong, or nothing. @throws Error for a kind that is not known */
export async function problemOf(object: KubernetesObject): Promise<string | undefined> {
  const { apiVersion, kind, metadata } = object;
  const library = isOfKubernetes(object) ? 'kubernetes-models' : '@kubernetes-models/prometheus-operator';
  const models = (await import(`${library}/${apiVersion}/${kind}`)) as Models;
  const Kind = models[kind];
  if (Kind === undefined) throw new Error(`${library} has no ${apiVersion} ${kind}`);
  try {
    new Kind(object).validate();
    return undefined;
  } catch (error) {
    return `${kind} ${metadata.name}: ${error instanceof Error ? error.message : error}`;
  }
}
