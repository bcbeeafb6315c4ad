# huidu as a small image: one binary, a user without rights, a health check.
#   docker build -t huidu .
#   docker run --name huidu -p 8080:8080 -v huidu-data:/var/lib/huidu huidu

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# The caches stay with the builder: a second build compiles huidu alone.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/huidu /usr/local/bin/huidu

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/huidu --create-home --shell /usr/sbin/nologin huidu \
    && chmod 0700 /var/lib/huidu
COPY --from=build /usr/local/bin/huidu /usr/local/bin/huidu
USER 10001:10001
WORKDIR /var/lib/huidu
VOLUME /var/lib/huidu
ENV HUIDU_DATA_DIR=/var/lib/huidu \
    HUIDU_LISTEN=0.0.0.0:8080 \
    HUIDU_LOG_FORMAT=json
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["huidu", "health"]
ENTRYPOINT ["huidu"]
CMD ["serve"]
