# The filter, and the identity provider and the upstream of the demo, for docker-compose.yaml.
#
# What it runs are scripts and make targets that run outside Docker as well, and are tested there.

FROM rust:1.95.0-bookworm AS build
# rust-toolchain.toml asks for the newest Rust, which would be fetched. This one is there.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /edge-authn
COPY . .
RUN scripts/debian-packages.sh make python3
RUN make wasm
RUN make demo-servers

FROM debian:12.12-slim
WORKDIR /edge-authn
COPY scripts/compose-files.sh scripts/
COPY --from=build /edge-authn/target/edge_authn.wasm target/
COPY --from=build /edge-authn/target/debug/edge-authn-demo /usr/local/bin/
CMD ["edge-authn-demo"]
