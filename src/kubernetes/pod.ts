// A pod as kubelet names it in a volume context.
export interface PodRef {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** What is wrong with the names, which become part of a URL; nothing when they are what Kubernetes allows. */
export function problemOf({ namespace, name, uid }: PodRef): string | undefined {
  if (!SUBDOMAIN.test(namespace)) return `${JSON.stringify(namespace)} is no name of a namespace`;
  if (!SUBDOMAIN.test(name)) return `${JSON.stringify(name)} is no name of a pod`;
  return uid === '' ? 'the uid of the pod is missing' : undefined;
}

/** RFC 1123, as Kubernetes checks names of pods; those of namespaces are narrower. */
const SUBDOMAIN = /^(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
