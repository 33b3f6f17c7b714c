#!/bin/sh
# A certificate authority and identities with nothing but openssl:
#
#   openssl.sh ca DIR [NAME]                       DIR/ca.key and DIR/ca.pem
#   openssl.sh peer DIR NAME INSIDE [OUTSIDE]      NAME.pem: key, certificate and CA; with OUTSIDE others may dial it
#
#   openssl.sh ca ca 'Example VPN'
#   openssl.sh peer ca laptop IPv4:10.9.0.2,IPv6:fd09::2
#   openssl.sh peer ca gw IPv4:10.9.0.1,IPv4-SAFI:1:10.9.0.0/24 DNS:gw.example.com,IP:192.0.2.1
#
# An address without a length is the host's own; a route has SAFI 1. Nothing that exists is overwritten.
# DAYS and ALGORITHM (ed25519, or "EC -pkeyopt ec_paramgen_curve:P-256") come from the environment.
set -eu
umask 077
profile="$(dirname "$0")/openssl.cnf"

fail() {
    echo "openssl.sh: $1" >&2
    exit 1
}

make_ca() {
    mkdir -p "$1"
    [ ! -e "$1/ca.key" ] && [ ! -e "$1/ca.pem" ] || fail "$1: there is a CA already"
    # shellcheck disable=SC2086  # an algorithm and its options
    openssl genpkey -algorithm ${ALGORITHM:-ed25519} -out "$1/ca.key"
    openssl req -x509 -new -config "$profile" -extensions authority -key "$1/ca.key" -sha256 \
        -days "${DAYS:-3650}" -out "$1/ca.pem"
}

# openssl wants a request to be signed by the key that it is for, which X25519 cannot do: hence -force_pubkey.
make_peer() {
    [ ! -e "$2.pem" ] || fail "$2.pem: exists already"
    work="$(mktemp -d)"
    trap 'rm -rf "$work"' EXIT
    openssl genpkey -algorithm X25519 -out "$work/key"
    openssl pkey -in "$work/key" -pubout -out "$work/public"
    openssl x509 -new -force_pubkey "$work/public" -subj "/CN=$2" -CA "$1/ca.pem" -CAkey "$1/ca.key" -sha256 \
        -set_serial "0x$(openssl rand -hex 15)" -extfile "$profile" -extensions "$3" \
        -days "${DAYS:-90}" -out "$work/certificate"
    cat "$work/key" "$work/certificate" "$1/ca.pem" > "$2.pem"
}

export TUNNEL_NAME="${3:-tunnel CA}" TUNNEL_INSIDE="${4:-IPv4:192.0.2.1}" TUNNEL_OUTSIDE="${5:-DNS:unused}"
case "${1:-} $#" in
"ca 2" | "ca 3") make_ca "$2" ;;
"peer 4") make_peer "$2" "$3" client ;;
"peer 5") make_peer "$2" "$3" server ;;
*) fail "expected: ca DIR [NAME], or peer DIR NAME INSIDE [OUTSIDE]" ;;
esac
