// The endpoint as people write it.

import { expect } from 'chai';
import { parseEndpoint } from '../../../src/rpc/endpoint.ts';

describe('parseEndpoint', () => {
  const good = {
    'unix:///csi/csi.sock': '/csi/csi.sock',
    'unix:/csi/csi.sock': '/csi/csi.sock',
    'UNIX:///csi/csi.sock': '/csi/csi.sock',
    'unix:relative.sock': 'relative.sock',
    'unix:../a b/c:d.sock': '../a b/c:d.sock',
    '/abs/csi.sock': '/abs/csi.sock',
    '/with:colon/csi.sock': '/with:colon/csi.sock',
    [`/${'x'.repeat(106)}`]: `/${'x'.repeat(106)}`,
  };
  for (const [endpoint, path] of Object.entries(good)) {
    it(`reads ${endpoint} as ${path}`, () => {
      expect(parseEndpoint(endpoint)).to.equal(path);
    });
  }

  const bad = {
    '': /is empty/,
    'csi.sock': /did you mean unix:csi\.sock\?/,
    'unix:': /names no path/,
    'unix://csi/csi.sock': /names a host; did you mean unix:\/\/\/csi\/csi\.sock\?/,
    'tcp://127.0.0.1:80': /scheme 'tcp' is not supported/,
    'unix:///csi/': /names a directory/,
    'unix:@csi': /abstract sockets/,
    'unix:/a\0b': /NUL/,
    [`/${'x'.repeat(107)}`]: /108 bytes long, the kernel takes 107 at most/,
    [`/${'ü'.repeat(54)}`]: /109 bytes long/,
  };
  for (const [endpoint, message] of Object.entries(bad)) {
    it(`refuses ${JSON.stringify(endpoint)} and says why`, () => {
      expect(() => parseEndpoint(endpoint)).to.throw(message);
      expect(() => parseEndpoint(endpoint)).to.throw(`endpoint '${endpoint}'`);
    });
  }
});
