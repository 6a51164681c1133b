# Sourced by the suites beside it: a fresh broker, and a folder for the suite, both gone when the suite ends.
#
# CAIRN_JUDGE_BROKER   kafka: Apache Kafka 4.3.1 in Cairn's place
# CAIRN_BIN            the cairn binary to judge   (default: the release build of this repository)
# CAIRN_TEST_TOOLS     where sources and builds of suites are kept   (default: ~/.cache/cairn-tests)
# shellcheck shell=bash

suites=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$suites/../..
peer=$repository/tests/peers/kafka
tools=${CAIRN_TEST_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/cairn-tests}
folder=$(mktemp -d "${TMPDIR:-/tmp}/cairn-suite.XXXXXX")
broker=

fail() { echo "$(basename "$0"): $*" >&2; exit 1; }

end_broker() {
  if [ "${CAIRN_JUDGE_BROKER:-cairn}" = kafka ]; then
    [ ! -d "$folder/kafka" ] || "$peer" stop "$folder/kafka" || true
  elif [ -n "$broker" ]; then
    kill "$broker" 2>/dev/null || true
    wait "$broker" 2>/dev/null || true
  fi
  broker=
  rm -rf "$folder/data" "$folder/kafka" "$folder/ready"
}
trap 'end_broker; rm -rf "$folder"' EXIT

# Two free ports that follow each other: Kafka's controller takes the second.
free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + RANDOM % 12000))
    if ! (exec 7<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && ! (exec 7<>"/dev/tcp/127.0.0.1/$((port + 1))") 2>/dev/null; then
      echo "$port"
      return 0
    fi
  done
  fail "no free port"
}

# start_broker KEY=VALUE...: sets `bootstrap`.
start_broker() {
  local port set=()
  port=$(free_port)
  bootstrap=127.0.0.1:$port
  case ${CAIRN_JUDGE_BROKER:-cairn} in
  kafka)
    KAFKA_PROPS="$*" "$peer" start "$folder/kafka" "$port" >/dev/null
    return 0
    ;;
  cairn) ;;
  *) fail "CAIRN_JUDGE_BROKER is $CAIRN_JUDGE_BROKER, and can be cairn or kafka" ;;
  esac
  if [ -z "${CAIRN_BIN:-}" ]; then
    (cd "$repository" && cargo build --release --locked --bin cairn)
    CAIRN_BIN=${CARGO_TARGET_DIR:-$repository/target}/release/cairn
  fi
  for property; do set+=(--set "$property"); done
  "$CAIRN_BIN" broker --data "$folder/data" --listen "$bootstrap" "${set[@]}" >"$folder/ready" 2>"$folder/broker.log" &
  broker=$!
  for _ in $(seq 600); do
    ! grep -q '^ready: ' "$folder/ready" || return 0
    kill -0 "$broker" 2>/dev/null || fail "the broker ended: $(tail -n 3 "$folder/broker.log")"
    sleep 0.1
  done
  fail "the broker was not ready: $(tail -n 3 "$folder/broker.log")"
}

# What the distribution has, if it is missing: install PROGRAM|FILE PACKAGE [PROGRAM|FILE PACKAGE]...
install() {
  local packages=() as_root=()
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null || [ -e "$1" ] || packages+=("$2")
    shift 2
  done
  [ ${#packages[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  echo "installing ${packages[*]}"
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}
