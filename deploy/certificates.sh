#!/usr/bin/env bash
# Makes the certificates of a cluster: one authority, and one certificate for each process, which it
# shows as a server and as a client. Needs nothing but openssl.
#
# usage: deploy/certificates.sh FOLDER NAME[=HOST[,HOST…]]…
#
#   deploy/certificates.sh certificates scheduler=localhost,127.0.0.1 executor-1=10.0.0.7 driver
#
# HOST is a name or an IP address at which others reach the process; without one, NAME is the host
# name. FOLDER gets ca.pem and, for each NAME, NAME.pem and NAME-key.pem. An authority that is there
# already is used again, so processes can be added later; a certificate that is there is made anew.
# ca-key.pem signs new certificates and is needed for nothing else: keep it away from the hosts.
#
# environment: DAYS, how long certificates are valid (default 365; the authority ten years).
set -euo pipefail
umask 077

[ $# -ge 2 ] || { sed -n '2,/^set /{s/^# \{0,1\}//;/^set /d;p}' "$0" >&2; exit 1; }
folder=$1
shift
mkdir -p "$folder"
work="$(mktemp -d "${TMPDIR:-/tmp}/almanac-certificates.XXXXXX")"
trap 'rm -rf "$work"' EXIT

# new_key FILE: ECDSA on P-256, PKCS#8.
new_key() {
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

if [ ! -e "$folder/ca-key.pem" ]; then
    new_key "$folder/ca-key.pem"
    openssl req -x509 -new -key "$folder/ca-key.pem" -sha256 -days 3650 -out "$folder/ca.pem" \
        -subj "/O=almanac/CN=almanac cluster authority" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" \
        -addext "keyUsage=critical,keyCertSign,cRLSign"
fi

for process in "$@"; do
    name=${process%%=*}
    [ "$name" != ca ] || { echo "error: ca is the authority; give the process another name" >&2; exit 1; }
    IFS=, read -ra hosts <<<"${process#*=}"
    alternatives=()
    for host in "${hosts[@]}"; do
        if [[ $host =~ ^[0-9]+(\.[0-9]+){3}$ || $host == *:* ]]; then
            alternatives+=("IP:$host")
        else
            alternatives+=("DNS:$host")
        fi
    done
    cat >"$work/$name.ext" <<EOF
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
subjectAltName=$(IFS=,; echo "${alternatives[*]}")
EOF
    new_key "$folder/$name-key.pem"
    openssl req -new -key "$folder/$name-key.pem" -subj "/O=almanac/CN=$name" -out "$work/$name.csr"
    openssl x509 -req -in "$work/$name.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca-key.pem" \
        -set_serial "0x$(openssl rand -hex 16)" -sha256 -days "${DAYS:-365}" \
        -extfile "$work/$name.ext" -out "$folder/$name.pem" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    chmod 644 "$folder/$name.pem"
    openssl verify -x509_strict -CAfile "$folder/ca.pem" -purpose sslserver "$folder/$name.pem"
    openssl verify -x509_strict -CAfile "$folder/ca.pem" -purpose sslclient "$folder/$name.pem" >/dev/null
done
chmod 644 "$folder/ca.pem"
