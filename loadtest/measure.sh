#!/usr/bin/env bash
# Measures everything at full size and draws the graphs of docs/performance.md.
#
#   loadtest/measure.sh                 everything, some 25 minutes on a machine that does nothing else
#   loadtest/measure.sh PART…           only these parts, in this order (measure.sh list)
#   OUT=/tmp/graphs RUNS=3 loadtest/measure.sh fanout latency
#   SERVER=other/fireside loadtest/measure.sh send      another build
#
# Results are kept as JSON beside the graphs, in OUT (docs/graphs), and the tables in OUT/tables.txt;
# `loadtest graph docs/graphs/*.json` draws the graphs anew without measuring anything.
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=${OUT:-docs/graphs}
RUNS=${RUNS:-5}
# Parts whose runs are long or whose figures are no medians that anything is held to.
FEW=${FEW:-$((RUNS < 3 ? RUNS : 3))}
SERVER=${SERVER:-target/release/fireside}
LOADTEST=target/release/loadtest
ON=(--server "$SERVER" --server-cpu "${SERVER_CPU:-0}" --load-cpu "${LOAD_CPU:-1}")

PARTS=(fanout deflate send latency idle storm presence mixed stalled hot channel flood handshakes)
declare -A ABOUT=(
  [fanout]="CPU of a delivery beside the kernel's floor, both encodings"
  [deflate]="CPU of a delivery with and without permessage-deflate, in turns"
  [send]="durable sends: 100 rooms, one room"
  [latency]="the last of 1,000, 100 and 2 at half load"
  [idle]="memory and CPU of idle sessions, 2,000 to 16,000"
  [storm]="10,000 sessions drop and resume"
  [presence]="1,000 people with 50 friends change presence"
  [mixed]="a day among 2,000 friends"
  [stalled]="10 of 1,000 stop reading"
  [hot]="a hot room beside a thousand quiet ones"
  [channel]="a channel of 10,000"
  [flood]="typing and presence without measure, and overload"
  [handshakes]="a rush at the door of a full server"
  [door]="chat-lb beside HAProxy and nginx; needs both (not among the default parts)"
  [instructions]="instructions of a delivery, a start, commands and a heartbeat, under callgrind (not among the default parts)"
  [pinning]="workers on CPUs of their own beside workers that roam, in turns (not among the default parts)"
  [versus]="two builds in turns, SERVER and OTHER (not among the default parts)"
  [deploy]="a rolling deploy, and a node killed with 5,000 people on it (not among the default parts)"
  [store]="the store on PostgreSQL and Redis, by wrk: catalogue, purchases, drops, queues; needs all three (not among the default parts)"
  [nodes]="two nodes beside one, and a node that was killed (not among the default parts)"
)

if [ "${1:-}" = list ] || [ "${1:-}" = --help ]; then
  for part in "${PARTS[@]}" instructions pinning versus door deploy nodes store; do printf '%-12s %s\n' "$part" "${ABOUT[$part]}"; done
  exit 0
fi

# one FILE SUBCOMMAND [OPTION…]: measures once and keeps the result.
one() {
  local file=$1 what=$2
  shift 2
  echo
  "$LOADTEST" "$what" "${ON[@]}" --out "$OUT/$file.json" "$@" | tee -a "$OUT/tables.txt"
}

part_fanout() {
  one fanout-json fanout --runs "$RUNS"
  one fanout-msgpack fanout --runs "$RUNS" --encoding msgpack
}
part_deflate() {
  one compared/deflate-json fanout --runs "$FEW" --deflate --text 200
  one compared/deflate-msgpack fanout --runs "$FEW" --deflate --text 200 --encoding msgpack
}
part_send() {
  one send-100-rooms send --runs "$RUNS" --seconds 6
  one send-1-room send --runs "$RUNS" --seconds 6 --rooms 1 --members 4 --window 64
}
part_latency() {
  for members in 1000 100 2; do
    one "latency-$members" latency --runs "$RUNS" --members "$members"
  done
}
part_idle() { one idle idle --runs "$FEW" --seconds 26; }
part_storm() { one storm storm --runs "$FEW"; }
part_presence() { one presence presence --runs "$FEW"; }
part_mixed() { one mixed mixed --runs "$FEW"; }
part_stalled() { one stalled stalled --runs "$FEW"; }
part_hot() { one hot hot --runs "$FEW"; }
part_channel() { one channel channel --runs "$FEW"; }
part_flood() { one flood flood --runs "$FEW"; }
part_instructions() {
  for members in 200 1000; do
    "$LOADTEST" instructions --server "$SERVER" --members "$members" --deliveries 200000 | tee -a "$OUT/tables.txt"
  done
  for of in start command heartbeat; do
    "$LOADTEST" instructions --server "$SERVER" --of "$of" | tee -a "$OUT/tables.txt"
  done
}
# Two workers have both CPUs, and so has the load: compare the two with each other only.
part_pinning() {
  ON=(--server "$SERVER" --server loadtest/pinned --set workers=2)
  one compared/pinning-fanout fanout --runs "$RUNS"
  one compared/pinning-send send --runs "$RUNS" --seconds 6
}
# Such as one build with another allocator: the same source without the two lines of
# standalone/src/main.rs that name it.
part_versus() {
  ON+=(--server "${OTHER:?the other build, as OTHER=…}")
  one compared/versus-fanout fanout --runs "$RUNS"
  one compared/versus-send send --runs "$RUNS" --seconds 6
  one compared/versus-idle idle --runs "$FEW" --seconds 5
}
# What more nodes cost, on all CPUs. FIRESIDE_STAND_IN should name a MongoDB stand-in fast enough to measure anything but
# itself, and FIRESIDE_STAND_IN_OPTIONS says how it is to run (docs/performance.md).
part_nodes() {
  cargo build --release --locked --workspace --bins
  ON=(--server "${NODE:-target/release/chat-node}")
  for nodes in 1 2; do
    one "nodes-$nodes-latency" latency --runs "$RUNS" --nodes "$nodes" --members 2 --rooms 100 --rate "${RATE:-500}"
  done
  # Each room has one who speaks; and then two nodes that speak in the same rooms.
  one nodes-2-send send --runs "$RUNS" --nodes 2 --rooms 1000 --members 3 --speakers 1 --window 8
  one nodes-2-contest send --runs "$RUNS" --nodes 2 --members 2
  # All is said on the first node; the others have a member of each room, or two, or three.
  for members in 3 6 9; do
    one "nodes-3-of-$members" send --runs "$RUNS" --nodes 3 --rooms 1000 --members "$members" --speakers 1 --window 8
  done
  one nodes-1-comeback comeback --runs "$FEW" --nodes 1
}
# What stands before the nodes, each with one thread on a CPU of its own.
part_door() {
  cargo build --release --locked --workspace --bins
  ON=(--server-cpu "${SERVER_CPU:-0}" --load-cpu "${LOAD_CPU:-1}")
  one compared/door door --runs "$RUNS"
}
# On all CPUs: what people feel, not what it costs. FIRESIDE_STAND_IN as for the part nodes.
part_deploy() {
  cargo build --release --locked --workspace --bins
  ON=()
  one compared/deploy deploy --runs "$RUNS"
  one compared/loss deploy --runs "$FEW" --kill --people 15000 --doors 2 --pace-ms "${PACE_MS:-60000}"
}
part_store() {
  loadtest/store/measure.py --server "${STORE:-target/release/store-api}" --runs "$FEW" \
    --store-cpu "${SERVER_CPU:-0}" --load-cpu "${LOAD_CPU:-1}" --out "$OUT/compared/store.json" | tee -a "$OUT/tables.txt"
}
part_handshakes() { one handshakes handshakes --runs "$FEW"; }

chosen=("${@:-}")
[ -n "${chosen[0]}" ] || chosen=("${PARTS[@]}")
for part in "${chosen[@]}"; do
  declare -F "part_$part" >/dev/null || { echo "there is no part \"$part\": $0 list" >&2; exit 2; }
done
cargo build --release --locked --workspace --bins
# A descriptor a session, here and in the server.
ulimit -n "$(ulimit -Hn)" || true
# Comparisons stand apart: the graphs are of one server.
mkdir -p "$OUT/compared"
: >"$OUT/tables.txt"
began=$SECONDS
failed=()
for part in "${chosen[@]}"; do
  at=$SECONDS
  printf '\n\033[1m== %s: %s\033[0m\n' "$part" "${ABOUT[$part]}"
  # In a shell of its own, so that what fails ends this part and not the others.
  if (set -e; "part_$part"); then
    printf '== %s: %d s, %d s in all\n' "$part" $((SECONDS - at)) $((SECONDS - began))
  else
    failed+=("$part")
    printf '== %s: FAILED after %d s\n' "$part" $((SECONDS - at))
  fi
done
if compgen -G "$OUT/*.json" >/dev/null; then "$LOADTEST" graph "$OUT"/*.json --out "$OUT"; fi
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
