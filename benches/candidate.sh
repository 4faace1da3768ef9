#!/usr/bin/env bash
# ccgate as the benchmark's candidate: a configuration from the harness' BENCH_ variables, then ccgate in this process' place.
#
# Everything is on: policy (the built-in rules), durable audit log, signed checkpoints, verification of the upstream. As the
# peers, it writes no access lines (`log.level: warn`).
#
#   CANDIDATE_BIN     the binary; without it that of `ci/release`
#   CANDIDATE_AUDIT   folder of the audit logs, on a disk: in memory an fdatasync costs nothing. Emptied each time
#   CANDIDATE_DIGEST  audit.digest: none (default), sha256 or blake3
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
binary=${CANDIDATE_BIN:-$root/target/release-shipped/ccgate}
work=$BENCH_DIR/ccgate
audit=${CANDIDATE_AUDIT:-$root/target/bench-audit}

rm -rf "$work" "$audit/log"
mkdir -p "$work/accounts" "$audit/log"
printf 'password: %s\n' "$BENCH_AGENT_PASSWORD" >"$work/accounts/$BENCH_AGENT_ID.yaml"
chmod 600 "$work/accounts/$BENCH_AGENT_ID.yaml"
[ -e "$BENCH_DIR/ccgate-audit.key" ] || openssl genpkey -algorithm ed25519 -out "$BENCH_DIR/ccgate-audit.key"

cat >"$work/ccgate.yaml" <<YAML
version: 1
server:
  listen: $BENCH_LISTEN
  drain: {delay: 0s, timeout: 5s}
admin:
  listen: 127.0.0.1:0
upstream:
  url: $BENCH_UPSTREAM_URL
  ca_file: $BENCH_UPSTREAM_CA
auth:
  issuers:
    - issuer: $BENCH_ISSUER
      audiences: [$BENCH_AUDIENCE]
      algorithms: [ES256, RS256]
      jwks_file: $BENCH_JWKS_FILE
      claims: {agent: /sub}
sessions:
  accounts_dir: $work/accounts
audit:
  dir: $audit/log
  signing_key_file: $BENCH_DIR/ccgate-audit.key
  digest: ${CANDIDATE_DIGEST:-none}
log:
  level: warn
YAML

exec "$binary" run --config "$work/ccgate.yaml"
