#!/usr/bin/env bash
# ccgate as the candidate of the benchmark harness: writes a configuration from the BENCH_ variables and becomes ccgate.
# `ci/bench` runs it, on a copy of the harness whose recordings are named without a dot: with one they are no call ids, and
# ccgate refuses them.
#
#   CANDIDATE_BIN     the program; default: the one of `ci/release`, else that of `cargo build --release`
#   CANDIDATE_AUDIT   where the audit folder goes; default: target/bench. On a real disk: a log in memory costs nothing
#   CANDIDATE_DIGEST  none (default: no peer hashes what it passes on), sha256 or blake3
#   CANDIDATE_LOG     level of the program's own log; default: warn, for no peer writes access lines either. With info, as it is
#                     shipped, each request has one on standard error
#   CANDIDATE_POLICY  a folder of *.cedar in place of the built-in rules
#
# The rest is as shipped: every token is checked, the policy decides, the record is durable before the first byte is asked for,
# and the agent's session comes from a sign-in at the harness' upstream. The harness pins ccgate to one core; tokio
# counts the cores that it may run on, so there is one worker thread. Whoever wants another number sets TOKIO_WORKER_THREADS.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
bin=$target/shipped/ccgate
[ -x "$bin" ] || bin=$target/release/ccgate
bin=${CANDIDATE_BIN:-$bin}
audit=${CANDIDATE_AUDIT:-$target/bench}/audit
work=$BENCH_DIR/ccgate

# The harness starts one candidate at a time. The folder of the last one is left by it, for nobody comes back after exec.
rm -rf "$audit" "$work"
mkdir -p "$audit" "$work/accounts"
if [ "$(stat --file-system --format %T "$audit")" = tmpfs ]; then
  printf '%s is in memory: an audit record there costs nothing, and the figures say so\n' "$audit" >&2
fi

openssl genpkey -algorithm ed25519 -out "$work/audit.key" 2>/dev/null
printf 'password: %s\n' "$BENCH_AGENT_PASSWORD" >"$work/accounts/$BENCH_AGENT_ID.yaml"
policy='{}'
[ -z "${CANDIDATE_POLICY-}" ] || policy="{ dir: '$CANDIDATE_POLICY' }"
cat >"$work/ccgate.yaml" <<YAML
version: 1
server:
  listen: $BENCH_LISTEN
  drain: { delay: 0s, timeout: 1s }
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
      claims: { agent: /sub }
sessions:
  accounts_dir: accounts
policy: $policy
audit:
  dir: $audit
  signing_key_file: audit.key
  digest: ${CANDIDATE_DIGEST:-none}
log:
  level: ${CANDIDATE_LOG:-warn}
YAML
exec "$bin" run --config "$work/ccgate.yaml"
