# Two images from one build: `--target service` and `--target runtime`.

# The console, embedded into the service.
FROM node:22-bookworm-slim AS web
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM rust:1.95.0-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
COPY --from=web /src/web/dist web/dist
# The image has this toolchain; rust-toolchain.toml would also fetch the tools for checks.
ENV RUSTUP_TOOLCHAIN=1.95.0
# Programs otherwise name the folders of the machine that built them.
ENV RUSTFLAGS="--remap-path-prefix=/usr/local/cargo=cargo --remap-path-prefix=/src=raven-agents"
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package raven-agents --package pty-runtime \
    && install -D target/release/raven-agents target/release/raven-runtime -t /out

FROM debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*

# The runtime: agents run in here, so an image with their programs is best made FROM this one.
FROM base AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends git procps \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10002 runtime
COPY --from=build /out/raven-runtime /usr/local/bin/
USER runtime
WORKDIR /home/runtime
ENV RUNTIME_HOST=0.0.0.0 RUNTIME_PORT=8081
EXPOSE 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$RUNTIME_PORT && printf 'GET /api/health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.. 200' <&3"]
ENTRYPOINT ["raven-runtime"]

# Last, so that a build without a target makes the service.
FROM base AS service
RUN useradd --create-home --uid 10001 raven
COPY --from=build /out/raven-agents /usr/local/bin/
USER raven
WORKDIR /home/raven
ENV HOST=0.0.0.0 PORT=3000
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$PORT && printf 'GET /api/health/live HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.. 200' <&3"]
ENTRYPOINT ["raven-agents"]
CMD ["serve"]
