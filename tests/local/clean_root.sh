#!/usr/bin/env bash
# A newcomer's machine: a minimal Debian 12 with Python and make, no Node, no compiler, in namespaces of its own.
#
#   clean_root.sh build DIR          a fresh one in DIR (kept as an archive in $HUBFLEET_TEST_CACHE for next time)
#                                    HUBFLEET_TEST_PACKAGES="a b": with these packages as well
#   clean_root.sh run DIR COMMAND    bash -c COMMAND as its root: own mounts and processes, this machine's network
#
# Needs root and mmdebstrap.
set -euo pipefail

suite=bookworm
include=python3,python3-venv,python3-pip,make,ca-certificates
for package in ${HUBFLEET_TEST_PACKAGES:-}; do include+=,$package; done
cache="${HUBFLEET_TEST_CACHE:-/var/cache/hubfleet-tests}"

# How this machine reaches the package registries: files with certificates, proxies, indexes.
certificates=(SSL_CERT_FILE PIP_CERT NODE_EXTRA_CA_CERTS REQUESTS_CA_BUNDLE CURL_CA_BUNDLE)
passed=("${certificates[@]}" PIP_INDEX_URL PIP_DEFAULT_TIMEOUT UV_DEFAULT_INDEX UV_NATIVE_TLS UV_SYSTEM_CERTS
    npm_config_registry http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY)

build() {
    local root=$1 archive name file
    archive="$cache/root-$(printf '%s' "$suite $include" | sha256sum | cut -c1-16).tar"
    mkdir -p "$cache" "$root"
    if [ ! -e "$archive" ]; then
        mmdebstrap --quiet --variant=minbase --include="$include" "$suite" "$archive.$$.tar"
        mv "$archive.$$.tar" "$archive"
    fi
    tar -C "$root" --numeric-owner --exclude='./dev/*' -xf "$archive"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    for name in "${certificates[@]}"; do
        file=${!name:-}
        [ ! -f "$file" ] || install -D -m 0644 "$file" "$root$file"
    done
}

run() {
    local root=$1 command=$2 name environment
    environment=(HOME=/root LANG=C.UTF-8 TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
    for name in "${passed[@]}"; do
        [ -z "${!name:-}" ] || environment+=("$name=${!name}")
    done
    # The inner shell is process 1: it must outlive a Ctrl-C that its children answer.
    exec unshare --mount --pid --ipc --uts --fork --kill-child bash -euc '
        root=$0 command=$1; shift
        mount --bind "$root" "$root"   # the new / is a mount, as on any machine
        mount --rbind /dev "$root/dev"
        mount --rbind /sys "$root/sys"
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=1777 tmp "$root/tmp"
        mount -t tmpfs -o mode=0755 run "$root/run"
        cd "$root"
        pivot_root . .
        umount -l .
        exec env -i "$@" bash -c "trap : INT; cd /; $command; exit"
    ' "$root" "$command" "${environment[@]}"
}

case "${1:-}" in
    build) build "$2" ;;
    run) run "$2" "$3" ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
