# The image: `./dev image` builds it, also where no registry can be reached; `docker build .` where one can.
# It has to build with podman 4.3 too, so there are no heredocs.

ARG DEBIAN_IMAGE=docker.io/library/debian
# renovate: datasource=docker depName=docker.io/library/debian
ARG DEBIAN_TAG=13-slim
ARG DEBIAN_DIGEST=sha256:a29215f6a35e51e22adffa17f89e9d2ef06214e64a2bad10d765c46aea49f11f
ARG K0SCTL_IMAGE=ghcr.io/k0sproject/k0sctl
# renovate: datasource=docker depName=ghcr.io/k0sproject/k0sctl
ARG K0SCTL_VERSION=v0.32.2

FROM ${K0SCTL_IMAGE}:${K0SCTL_VERSION} AS k0sctl


# --- userland: the programs that the handler needs
FROM ${DEBIAN_IMAGE}:${DEBIAN_TAG}${DEBIAN_DIGEST:+@}${DEBIAN_DIGEST} AS userland
ENV DEBIAN_FRONTEND=noninteractive
COPY image/dpkg.cfg /etc/dpkg/dpkg.cfg.d/k0sctl-handler
# libnss-unknown: ssh refuses to work for a user without an entry in passwd, as `--user 12345:12345` is
RUN apt-get update \
  && apt-get install --yes --no-install-recommends \
    bash ca-certificates coreutils curl git gpg gpg-agent grep libnss-unknown mtr-tiny openssh-client openssl python3 \
  && rm -rf /var/lib/apt/lists/*


# --- build: the handler with its dependencies, in a virtual environment without pip
FROM userland AS build
RUN apt-get update \
  && apt-get install --yes --no-install-recommends python3-setuptools python3-venv \
  && rm -rf /var/lib/apt/lists/* \
  && python3 -m venv --system-site-packages /build/tools \
  && python3 -m venv --without-pip /opt/k0sctl-handler
WORKDIR /build
COPY requirements.lock image/pip.sh ./
ARG PIP_INDEX_URL
RUN --mount=type=secret,id=ca \
  sed '/^# --- development/,$d' requirements.lock > runtime.lock \
  && ./pip.sh /opt/k0sctl-handler --require-hashes --requirement runtime.lock
COPY LICENSE README.md pyproject.toml ./
COPY handler handler
# with Debian's setuptools, so that nothing comes from the package index without a hash
RUN /build/tools/bin/pip --quiet wheel --no-index --no-deps --no-build-isolation --wheel-dir wheels . \
  && ./pip.sh /opt/k0sctl-handler --no-index --no-deps wheels/*.whl


# --- slim: the userland without what a release does not need
FROM userland AS slim
COPY --from=build /opt/k0sctl-handler /opt/k0sctl-handler
COPY image/slim.sh /build/
# what makes this build different from a release, a line each; empty for a release
ARG NOT_A_RELEASE=
RUN /build/slim.sh && rm -r /build


# --- release: one layer, since a layer below would still hold what was removed
FROM scratch AS release
# hadolint ignore=DL3067
COPY --from=slim / /
COPY --from=k0sctl --chown=0:0 --chmod=0755 /usr/local/bin/k0sctl /usr/local/bin/k0sctl
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/home/handler
WORKDIR /work
USER 65532:65532
ENTRYPOINT ["k0sctl-handler"]
CMD ["version"]
ARG DEBIAN_IMAGE
ARG DEBIAN_TAG
ARG DEBIAN_DIGEST
ARG K0SCTL_VERSION
ARG NOT_A_RELEASE
# What differs without any file, or line of this file, being another comes by --label: podman 4.3 takes a LABEL from its
# cache although an argument in it has another value. That is version, revision, created and source.
LABEL org.opencontainers.image.title="k0sctl-handler" \
  org.opencontainers.image.description="Runs the life of a k0s cluster as CI jobs: install, back up, prove, restore" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.base.name="${DEBIAN_IMAGE}:${DEBIAN_TAG}" \
  org.opencontainers.image.base.digest="${DEBIAN_DIGEST}" \
  k0sctl-handler.k0sctl="${K0SCTL_VERSION}" \
  k0sctl-handler.not-a-release="${NOT_A_RELEASE}"


# --- test: the contract tests, with the programs of the image itself. They make file systems, networks and process
# trees of their own, which a build may not; so they are what this image does, when it is run with --privileged.
FROM build AS test-tools
RUN apt-get update \
  && apt-get install --yes --no-install-recommends iproute2 openssh-server \
  && rm -rf /var/lib/apt/lists/* \
  && python3 -m venv --without-pip /opt/tests
RUN --mount=type=secret,id=ca ./pip.sh /opt/tests --require-hashes --requirement requirements.lock
COPY image/carry.sh ./
RUN ./carry.sh /carried /usr/sbin/ip /usr/sbin/sshd /usr/bin/mount /usr/bin/umount /usr/lib/openssh/* \
  /usr/lib/git-core/git-http-backend

FROM release AS test
# hadolint ignore=DL3002
USER 0:0
COPY --from=test-tools /carried /
COPY --from=test-tools /opt/tests /opt/tests
RUN echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin' >> /etc/passwd && mkdir -p /run/sshd
WORKDIR /src
COPY . .
ENV CI=true
ENTRYPOINT ["/opt/tests/bin/python", "-m", "pytest", "-p", "no:cacheprovider"]
CMD ["-q", "--dist", "worksteal", "--tx", "3*popen//python=sh tests/support/apart.sh /opt/tests/bin/python", \
  "tests/contract"]


# --- what `docker build .` gives
FROM release
