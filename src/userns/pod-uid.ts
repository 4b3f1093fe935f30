// The uid of a pod: where it stands in a path of kubelet, and what it looks like. Pure.

/**
 * What kubelet names a pod's directory by: the UUID that the API server gave it, or the 32 hexadecimal digits that
 * kubelet makes of a static pod's manifest.
 */
export function isPodUid(text: string): boolean {
  return UID.test(text);
}
const UID = /^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32})$/;

/**
 * The pod whose volume a target path is: `<kubelet dir>/pods/<uid>/volumes/kubernetes.io~csi/<volume>/mount`.
 * Undefined for any other path, such as a block volume's (`<kubelet dir>/plugins/kubernetes.io/csi/volumeDevices/...`).
 * By the text of both: kubelet and the driver are told the same directory.
 */
export function podUidOfTarget(kubeletDir: string, target: string): string | undefined {
  const root = `${kubeletDir.replace(/\/+$/, '')}/`;
  if (!target.startsWith(root)) return undefined;
  const [pods, uid = '', volumes, plugin, volume = '', mount, ...more] = target.slice(root.length).split('/');
  const isTarget =
    pods === 'pods' &&
    volumes === 'volumes' &&
    plugin === 'kubernetes.io~csi' &&
    mount === 'mount' &&
    more.length === 0;
  return isTarget && isPodUid(uid) && !['', '.', '..'].includes(volume) ? uid : undefined;
}
