// Two layers with files of several owners, and an empty one to write to: what pods with user namespaces are shown.
export const DATA_SET = {
  'base/of-root': { content: 'root', uid: 0, gid: 0, mode: 0o640 },
  'base/of-service': { content: 'service', uid: 33, gid: 33 },
  'top/of-user': { content: 'user', uid: 1000, gid: 1001 },
  'top/sub/inner': { content: 'inner', uid: 0, gid: 0 },
  'upper/': {},
  'work/': {},
};
