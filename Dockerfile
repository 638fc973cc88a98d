# Cria in a container: built from this folder, run as a user without rights.
#
#   docker build -t cria .
#   docker run -p 127.0.0.1:11434:11434 -v cria:/var/lib/cria cria
ARG BASE=debian:12-slim

FROM $BASE AS build
WORKDIR /src
COPY . .
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates && \
    ./quickstart build && \
    make install DESTDIR=/out PREFIX=/usr

FROM $BASE
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates libcurl4 libedit2 \
        libhiredis0.14 libinih1 libevent-2.1-7 libevent-openssl-2.1-7 libjansson4 libpcre2-8-0 libsqlite3-0 \
        libssl3 libutf8proc2 libzstd1 zlib1g && \
    apt-get clean && rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --home-dir /var/lib/cria cria && \
    install -d -o cria -g cria /var/lib/cria
COPY --from=build /out/usr/bin/cria /usr/bin/cria
COPY --from=build /out/usr/share/cria /usr/share/cria
USER cria
# In a container the port is reached from outside of it; who may do that is decided by what is
# published (docker-compose.yml: this machine alone).
ENV CRIA_HOST=0.0.0.0:11434 CRIA_ALLOW_REMOTE=1 CRIA_MODELS=/var/lib/cria/models
VOLUME /var/lib/cria
EXPOSE 11434
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["cria", "ps"]
ENTRYPOINT ["cria"]
CMD ["serve"]
