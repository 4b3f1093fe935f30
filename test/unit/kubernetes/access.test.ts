// Which API server there is to ask, by environment and files.
import { writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { type ApiAccess, findAccess } from '../../../src/kubernetes/access.ts';
import { temporaryDirectory } from '../../support/fixtures.ts';

const POD = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' };

interface Row {
  readonly title: string;
  readonly environment: Record<string, string>;
  readonly token?: boolean;
  readonly expect: (serviceAccountDir: string) => ApiAccess;
}

const ROWS: readonly Row[] = [
  {
    title: 'a pod has the service address and its service account',
    environment: POD,
    token: true,
    expect: (directory) => ({
      is: 'in-cluster',
      server: 'https://10.96.0.1:443',
      tokenFile: `${directory}/token`,
      caFile: `${directory}/ca.crt`,
    }),
  },
  {
    title: 'an IPv6 address is put into brackets',
    environment: { ...POD, KUBERNETES_SERVICE_HOST: 'fd00::1' },
    token: true,
    expect: (directory) => ({
      is: 'in-cluster',
      server: 'https://[fd00::1]:443',
      tokenFile: `${directory}/token`,
      caFile: `${directory}/ca.crt`,
    }),
  },
  {
    title: 'a pod without a token has none, and is told what to set',
    environment: POD,
    expect: (directory) => ({
      is: 'none',
      because: `there is no ${directory}/token; set automountServiceAccountToken: true for the driver's pod`,
    }),
  },
  {
    title: 'outside of a cluster there is none, whatever lies in that directory',
    environment: {},
    token: true,
    expect: () => ({
      is: 'none',
      because: 'neither KUBECONFIG nor KUBERNETES_SERVICE_HOST and _PORT are set',
    }),
  },
  {
    title: 'KUBECONFIG wins, for it was set on purpose',
    environment: { ...POD, KUBECONFIG: '/etc/kubernetes/driver.conf' },
    token: true,
    expect: () => ({ is: 'kubeconfig', files: ['/etc/kubernetes/driver.conf'] }),
  },
  {
    title: 'KUBECONFIG may name several files',
    environment: { KUBECONFIG: '/a:/b:' },
    expect: () => ({ is: 'kubeconfig', files: ['/a', '/b'] }),
  },
  {
    title: 'an empty KUBECONFIG is none',
    environment: { KUBECONFIG: '' },
    expect: () => ({
      is: 'none',
      because: 'neither KUBECONFIG nor KUBERNETES_SERVICE_HOST and _PORT are set',
    }),
  },
];

describe('access to the Kubernetes API', () => {
  for (const row of ROWS) {
    it(row.title, () => {
      using directory = temporaryDirectory();
      if (row.token) writeFileSync(directory.at('token'), 'x');
      const found = findAccess({ environment: row.environment, serviceAccountDir: directory.path });
      expect(found).to.deep.equal(row.expect(directory.path));
    });
  }
});
