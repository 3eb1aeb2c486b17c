# One image for every role: docker run stenobus gateway|dispatcher|worker|up ...
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=${VERSION}" -o /stenobus ./cmd/stenobus

FROM debian:bookworm-slim
# What the offline engine loads at run time. Gateways and dispatchers don't need it.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libpocketsphinx3 pocketsphinx-en-us \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /var/lib/stenobus --create-home stenobus
COPY --from=build /stenobus /usr/local/bin/stenobus
USER stenobus
# Others than the container itself can reach this address, so that "up" and "gateway" say
# what is missing until they are told who may come in:
#   docker run -p 8443:8080 -v ./keys:/etc/stenobus:ro stenobus up \
#     --auth-keys /etc/stenobus/keys --tls-cert /etc/stenobus/cert.pem --tls-key /etc/stenobus/key.pem
# or, where publishing keeps the port to this machine:
#   docker run -p 127.0.0.1:8080:8080 stenobus up --insecure-no-auth
ENV STENOBUS_LISTEN=0.0.0.0:8080 \
    STENOBUS_DATA=/var/lib/stenobus \
    STENOBUS_LOG_FORMAT=json
VOLUME /var/lib/stenobus
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["stenobus"]
CMD ["up"]
