# The image of the driver: `make image` (scripts/image), or by hand
#
#   docker build -t csi-driver-idmap .
#
#   stage   is                                                      stays in the image
#   build   npm and everything of package.json, makes the bundle    no
#   (last)  BASE, the programs that volumes need, Node, the bundle  yes
#
# Nothing is built for one machine on another: each platform of a multi-platform build (buildx, buildah manifest) takes
# its own Node and its own native module of koffi from npm, as the lockfile has them.

# Debian 13 or later, or what is like it. Where no registry can be reached: `make image BASE=debootstrap`.
ARG BASE=docker.io/library/debian:trixie-slim
# One that has npm already, node:24-trixie-slim say, is quicker.
ARG BUILD_BASE=${BASE}
ARG BUILDPLATFORM
ARG TARGETPLATFORM

FROM --platform=${BUILDPLATFORM} ${BUILD_BASE} AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN command -v npm >/dev/null \
 || { apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates npm >/dev/null; }
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# Without install scripts: those of esbuild and koffi only save time, or compile what is here compiled already.
# `ca`: certificates of a proxy that looks into TLS, where there is one.
RUN --mount=type=secret,id=ca \
    [ ! -s /run/secrets/ca ] || export NODE_EXTRA_CA_CERTS=/run/secrets/ca; \
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
COPY scripts/build.ts scripts/bundle.ts scripts/shipped.ts scripts/fetch-platform.ts scripts/
COPY src/ src/
# By the Node of the lockfile, whichever npm ran on (that of Debian 13 links no `node` into .bin).
RUN node_modules/node-linux-*/bin/node scripts/build.ts
# For another platform than this machine's, its own Node and native module.
ARG TARGETARCH
RUN --mount=type=secret,id=ca \
    [ ! -s /run/secrets/ca ] || export NODE_EXTRA_CA_CERTS=/run/secrets/ca; \
    cpu=$(echo "${TARGETARCH:-$(dpkg --print-architecture)}" | sed 's/^amd64$/x64/'); echo "$cpu" >/target-cpu; \
    node_modules/node-linux-*/bin/node scripts/fetch-platform.ts "$cpu"
# What goes into the image, at its place. Of koffi all but its C++ sources; Node alone, without npm.
RUN set -eu; lib=/out/usr/local/lib/csi-driver-idmap; doc=/out/usr/share/doc/csi-driver-idmap; \
    cpu=$(cat /target-cpu); \
    mkdir -p /out/usr/local/bin "$lib/node_modules/@koromix" "$doc"; \
    cp "node_modules/node-linux-$cpu/bin/node" /out/usr/local/bin/node; \
    cp "node_modules/node-linux-$cpu/LICENSE" "$doc/LICENSE.node"; \
    cp dist/* "$lib/"; \
    cp package.json "$doc/"; \
    cp "node_modules/koffi/LICENSE.txt" "$doc/LICENSE.koffi"; \
    cp -r "node_modules/koffi" "$lib/node_modules/"; \
    cp -r "node_modules/@koromix/koffi-linux-$cpu" "$lib/node_modules/@koromix/"; \
    cd "$lib/node_modules"; \
    rm -rf koffi/doc koffi/lib koffi/vendor koffi/cnoke.cjs @koromix/*/musl_*; \
    find koffi -type f ! -name '*.js' ! -name '*.cjs' ! -name package.json -delete; \
    find koffi -type d -empty -delete
COPY LICENSE /out/usr/share/doc/csi-driver-idmap/
# For `kubectl exec ... -- csi-driver-idmap doctor`. The container itself starts without a shell.
RUN printf '#!/bin/sh\nexec /usr/local/bin/node /usr/local/lib/csi-driver-idmap/main.mjs "$@"\n' \
      >/out/usr/local/bin/csi-driver-idmap \
 && chmod -R u=rwX,go=rX /out && chmod 755 /out/usr/local/bin/*

# Said here too: buildah (1.28) takes the platform of the stage before otherwise.
FROM --platform=${TARGETPLATFORM} ${BASE}
# Python comes for xfs_scrub_all, which nobody calls here. Set-user-id bits are for users, and there are none.
RUN export DEBIAN_FRONTEND=noninteractive; apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends \
      tini libstdc++6 mount util-linux e2fsprogs xfsprogs btrfs-progs fuse3 bindfs fuse2fs squashfuse >/dev/null \
 && dpkg --purge --force-depends $(dpkg-query -W -f '${Package}\n' '*python3*') >/dev/null 2>&1 \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/debconf/* /var/log/* /usr/share/man/* /usr/share/info/* /usr/share/locale/* \
 && find /usr/share/doc -type f ! -name copyright -delete \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
COPY --from=build --chown=0:0 /out/ /

ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="csi-driver-idmap" \
      org.opencontainers.image.description="Kubernetes CSI node plugin for ID-mapped mounts" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

ENV NODE_ENV=production
# Root: it mounts. tini reaps FUSE helpers that became daemons, where it is process 1 and where it is not (-s).
USER 0:0
WORKDIR /
ENTRYPOINT ["/usr/bin/tini", "-s", "--", "/usr/local/bin/node", "/usr/local/lib/csi-driver-idmap/main.mjs"]
CMD ["serve"]
