#!/usr/bin/env bash
# Tokens a second, rows a second, seconds per epoch and peak memory of training, ours and the peer in turn.
# usage: tests/bench.sh [ORACLE_DIR [RAW.jsonl]]
#   ORACLE_DIR   made by tests/oracle/setup.sh: SmolLM2-135M, with transformers + PEFT beside us in the same run. Without
#                it only our own figures: on SmolLM2 where `just smollm2` has brought it, else on data/tiny-chat
#   RAW.jsonl    the examples [default: data/tasks.jsonl]
# Environment: ROUNDS (3) runs of each, in turn, of which the median is printed; STEPS (6) of each run; THREADS (all);
# WORK (dense rows long) which workloads; BASES which of ours. Machines are noisy: compare the lines of one run, never two.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
steps=${STEPS:-6} rounds=${ROUNDS:-3} threads=${THREADS:-$(nproc)}
bin=${CARGO_TARGET_DIR:-$root/target}/release
oracle=${1:+$(cd "$1" && pwd)}
raw=$(realpath "${2:-$root/data/tasks.jsonl}")
cached=$root/.cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

if [[ -n $oracle ]]; then
  [[ -e $oracle/venv/ok && -e $oracle/smollm2-hf/model.safetensors ]] || {
    printf 'error: %s has no oracle environment\nhint: tests/oracle/setup.sh %s makes it\n' "$oracle" "$oracle" >&2
    exit 2
  }
  bases=("$oracle/smollm2-hf" "$oracle"/smollm2/*.gguf)
elif [[ -e $cached ]]; then
  bases=("$cached")
else
  bases=("$root/data/tiny-chat")
fi

(cd "$root" && cargo build --release --locked --quiet --workspace --bins --example bench-rows)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$bin/examples/bench-rows" "$raw" "$out"
prep() { "$bin/lora-prep" "$1" --base "${bases[0]}" --out "$out/$2" --valid 0 --quiet "${@:3}" >/dev/null; }

# The first or last value of a key in JSON; the median of the numbers on stdin.
number() { grep -o "\"$1\":[ ]*[0-9.e+]*" <<<"$2" | tail -n 1 | sed 's/.*:[ ]*//'; }
first() { grep -o "\"$1\": [0-9]*" | head -n 1 | grep -o '[0-9]*$'; }
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

ours() { # base data batch
  local receipt
  receipt=$("$bin/lora-train" --base "$1" --data "$2" --out "$out/adapter" --force --quiet --json --rank 16 --targets all \
    --batch "$3" --lr 5e-4 --schedule constant --warmup 0 --steps "$steps" --threads "$threads" | tail -n 1)
  printf '%s %s\n' "$(number tokens_per_s "$receipt")" "$(number peak_rss_bytes "$receipt")"
}
peft() {
  local summary
  summary=$(HF_HUB_OFFLINE=1 "$oracle/venv/bin/python" "$root/tests/oracle/peft_train.py" --base "$1" --data "$2" \
    --r 16 --batch "$3" --lr 5e-4 --steps "$steps" --threads "$threads" 2>/dev/null | tail -n 1)
  printf '%s %s\n' "$(number tokens_per_s "$summary")" "$(number peak_rss_bytes "$summary")"
}

workload() { # name title data batch
  local data=$out/$3 batch=$4 base tokens rows peer=
  rows=$(first rows <"$data/dataset.json")
  tokens=$(first tokens <"$data/dataset.json")
  for ((round = 0; round < rounds; round++)); do
    for base in "${!bases[@]}"; do ours "${bases[base]}" "$data" "$batch" >>"$out/$1.$base"; done
    [[ -z $oracle ]] || peft "${bases[0]}" "$data" "$batch" >>"$out/$1.peer"
  done
  [[ -z $oracle ]] || peer=$(awk '{ print $1 }' "$out/$1.peer" | median)
  printf '\n%s: %s rows, %s tokens, batch %s\n' "$2" "$rows" "$tokens" "$batch"
  line() { # label file
    awk -v label="$1" -v speed="$(awk '{ print $1 }' "$2" | median)" -v memory="$(awk '{ print $2 }' "$2" | median)" \
      -v rows="$rows" -v tokens="$tokens" -v peer="$peer" 'BEGIN {
        printf "  %-42s %8.0f tokens/s %8.2f rows/s %7.0f s/epoch %6.2f GB", label, speed, speed * rows / tokens, tokens / speed, memory / 1e9
        if (peer) printf " %6.2f×", speed / peer
        print "" }'
  }
  for base in "${!bases[@]}"; do line "lora-train, $(basename "${bases[base]}")" "$out/$1.$base"; done
  [[ -z $oracle ]] || line "transformers + PEFT + torch, f32" "$out/$1.peer"
}

printf 'rank 16 on all seven linear layers; %s threads; medians of %s runs of %s steps each, in turn\n' "$threads" "$rounds" "$steps"
for work in ${WORK:-dense rows long}; do
  case $work in
    dense) prep "$out/dense.jsonl" data-dense --text-block 256 && workload dense "dense, every token supervised" data-dense 4 ;;
    rows) prep "$raw" data-rows && workload rows "$(basename "$raw") as it is" data-rows 8 ;;
    long) prep "$out/long.jsonl" data-long && workload long "long prompts, short answers" data-long 4 ;;
    *) printf 'error: there is no workload %s\nhint: dense, rows, long\n' "$work" >&2; exit 2 ;;
  esac
done
[[ -n $oracle ]] || printf '\nthe peer was not measured: tests/oracle/setup.sh DIR brings it, then `just bench DIR`\n'
