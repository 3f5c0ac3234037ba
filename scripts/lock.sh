#!/usr/bin/env bash
# Writes every lock file anew: one resolution for all of them, hashes of the public files, no address of any registry.
# Called by `make lock`; needs .venv (for uv) and npm.
set -euo pipefail
cd "$(dirname "$0")/.."

env_dir=src/hubfleet/environments
chp="configurable-http-proxy@5.3.0"
uv="${UV:-.venv/bin/uv}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A mirror or a folder of wheels that this machine happens to know must not decide what is locked.
while IFS='=' read -r name _; do
    case $name in UV_*INDEX* | UV_FIND_LINKS | UV_CONSTRAINT | UV_OVERRIDE | UV_EXCLUDE_NEWER | UV_PRERELEASE) unset "$name" ;; esac
done < <(env)

compile() {
    "$uv" --no-config pip compile --quiet --universal --python-version 3.10 --no-header --annotation-style line \
        --no-emit-index-url --no-emit-find-links ${UPGRADE:+--upgrade} "$@"
}

locks=(requirements/cli requirements/dev $env_dir/build $env_dir/tools $env_dir/hub $env_dir/user)

# First all together, so that the files agree; what is locked now is kept, unless UPGRADE=1.
cat $(printf '%s.txt ' "${locks[@]}") 2>/dev/null | grep -E '^[a-z0-9.-]+==' | sed 's/ *\\$//' | sort -u >"$work/all.txt" || true
echo "resolving ..."
compile --no-annotate "${locks[@]/%/.in}" --output-file "$work/all.txt" >/dev/null
for lock in "${locks[@]}"; do
    echo "$lock.txt"
    rm -f "$work/one.txt"
    UPGRADE='' compile --generate-hashes --constraints "$work/all.txt" "$lock.in" --output-file "$work/one.txt" >/dev/null
    sed -i "s#, -c $work/all.txt##; s#-c $work/all.txt, ##; s#-c $work/all.txt##" "$work/one.txt"
    install -m 0644 "$work/one.txt" "$lock.txt"
done

# Old clients, which agree with nothing of today's: an environment of their own, for tests.
echo requirements/clients.txt
compile --generate-hashes requirements/clients.in --output-file requirements/clients.txt >/dev/null

echo "$env_dir/proxy/package-lock.json"
cat >"$work/package.json" <<JSON
{
  "name": "hubfleet-proxy",
  "private": true,
  "dependencies": {
    "${chp%@*}": "${chp#*@}"
  }
}
JSON
[ -n "${UPGRADE:-}" ] || cp $env_dir/proxy/package-lock.json "$work/" 2>/dev/null || true
(cd "$work" && npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved=true --silent)
python3 - "$work/package-lock.json" <<'PY'
import json, sys
lock = json.load(open(sys.argv[1]))
for package in lock["packages"].values():
    package.pop("funding", None)  # addresses that no install reads
open(sys.argv[1], "w").write(json.dumps(lock, indent=2) + "\n")
PY
install -m 0644 "$work/package.json" "$work/package-lock.json" $env_dir/proxy/

if grep -nEi '://|find-links|index-url|"resolved"|file:' "${locks[@]/%/.txt}" requirements/clients.txt $env_dir/proxy/*.json; then
    echo "A lock file names an address (above)." >&2
    exit 1
fi
