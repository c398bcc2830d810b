# The image of m2m-sidecar: one binary on distroless, uid 65532, no shell.
#
#   make image        or:  docker build --tag m2m-sidecar .

FROM rust:1.95-bookworm AS build
# zlib-ng, through pingora, builds with cmake.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# The dependencies are a layer of their own, built for an empty crate, so a change of the source keeps it. This also helps
# a CI that keeps layers but no cache mounts. `sed` removes the targets of the manifest, whose files are missing here.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
RUN sed -i '/^\[\[/,/^$/d' Cargo.toml \
    && mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked

COPY . .
# Cargo compares modification times, and a checkout may be older than the empty crate.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked \
    && install -d -m 0700 /image/data

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG SOURCE=""
ARG REVISION=""
LABEL org.opencontainers.image.title="m2m-sidecar" \
      org.opencontainers.image.description="Issues, verifies and injects machine-to-machine OAuth tokens beside a service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.revision="${REVISION}"

# A named volume that is mounted here takes over this owner. There is no VOLUME: it would give every container an anonymous
# one, which is writable on a read-only root. COPY takes the parent directory, so that the directory keeps its mode.
COPY --from=build --chown=65532:65532 /image/ /
COPY --from=build /src/target/release/m2m-sidecar /usr/local/bin/m2m-sidecar

# The defaults `./data` and `./data/m2m.db` are then below /data.
WORKDIR /
# For every command: `docker run IMAGE check` needs no --config.
ENV M2M_SIDECAR_CONFIG=/etc/m2m-sidecar/config.yaml
# A number, so that Kubernetes can check that it is not root.
USER 65532:65532
# The ports of the documentation: issuer, inbound, probes. Outbound listeners stay on localhost.
EXPOSE 8080 8081 9900
STOPSIGNAL SIGTERM
# Needs `probes` in the configuration.
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/m2m-sidecar", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/m2m-sidecar"]
CMD ["run"]
