#!/usr/bin/env bash
# What lora-plan foretells of six runs, and what then happens: peak memory, and seconds of an epoch.
# usage: tests/plan.sh [SMOLLM2.gguf]
#   SMOLLM2.gguf   [default: what `just smollm2` has brought; without it only the three runs on data/tiny-chat]
# Environment: THREADS (all); RUNS (1 2 3 4 5 6) which of them. Time is foretold twice: from a matrix product alone, and with
# --measure from two micro-steps. Machines are noisy: a run beside which something else computes takes longer.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin=${CARGO_TARGET_DIR:-$root/target}/release
threads=${THREADS:-$(nproc)}
smollm2=${1:-$root/.cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf}

(cd "$root" && cargo build --release --locked --quiet --workspace --bins --example bench-rows)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$bin/examples/bench-rows" "$root/data/tasks.jsonl" "$out"
"$bin/lora-export" --model "$root/data/tiny-chat" --dtype q8_0 --out "$out/tiny-chat-q8_0.gguf" --quiet >/dev/null

number() { grep -o "\"$1\":[ ]*[0-9.e+-]*" <<<"$2" | tail -n 1 | sed 's/.*:[ ]*//'; }

run() { # name base raw prep-flags -- lora-train's flags that lora-plan has too -- those that only the one has
  local name=$1 base=$2 raw=$3 prep=$4 same=$5 plan=$6 train=$7 memory peak measured receipt
  local data=$out/data.$RANDOM$RANDOM
  "$bin/lora-prep" "$raw" --base "$base" --out "$data" --valid 0 --quiet $prep >/dev/null
  memory=$("$bin/lora-plan" memory --model "$base" --data "$data" $same $plan --json --quiet | tail -n 1)
  peak=$("$bin/lora-plan" time --model "$base" --data "$data" $same $plan --threads "$threads" --json --quiet | tail -n 1)
  measured=$("$bin/lora-plan" time --model "$base" --data "$data" $same $plan --threads "$threads" --measure --json --quiet | tail -n 1)
  receipt=$("$bin/lora-train" --base "$base" --data "$data" $same $train --epochs 1 --lr 1e-4 --threads "$threads" \
    --out "$out/adapter" --force --json --quiet | tail -n 1)
  awk -v name="$name" -v m="$(number total "$memory")" -v found="$(number peak_rss_bytes "$receipt")" \
    -v a="$(number epoch "$peak")" -v b="$(number epoch "$measured")" -v tokens="$(number tokens "$measured")" \
    -v speed="$(number tokens_per_s "$receipt")" 'BEGIN {
      seconds = tokens / speed
      printf "%-62s %7.1f %7.1f %+5.0f %%   %6.1f %6.1f %6.1f %+5.0f %% %+5.0f %%\n", name, m / 1e6, found / 1e6,
        100 * (m / found - 1), a, b, seconds, 100 * (a / seconds - 1), 100 * (b / seconds - 1) }'
}

printf '%-62s %24s   %s\n' '' 'peak memory, MB' 'an epoch, seconds'
printf '%-62s %7s %7s %7s   %6s %6s %6s %7s %7s\n' run plan found '' peak meas. found peak meas.
tasks=$root/data/tasks.jsonl tiny=$root/data/tiny-chat tiny8=$out/tiny-chat-q8_0.gguf
for number in ${RUNS:-1 2 3 4 5 6}; do
  [[ $number -le 3 || -e $smollm2 ]] || continue
  case $number in
    1) run "tiny-chat bf16, r 16 all, batch 8, tasks" "$tiny" "$tasks" "" "--rank 16 --targets all --batch 8" "" "" ;;
    2) run "tiny-chat bf16, r 64 attention, batch 32, text of 128, dropout" "$tiny" "$out/dense.jsonl" "--text-block 128" \
      "--rank 64 --targets attention --batch 32" "--dropout" "--dropout 0.05" ;;
    3) run "tiny-chat q8_0, r 8 full-attention, batch 64, tasks" "$tiny8" "$tasks" "" "--rank 8 --targets full-attention --batch 64" "" "" ;;
    4) run "SmolLM2 Q4_1, r 16 all, batch 8, tasks" "$smollm2" "$tasks" "--limit 64" "--rank 16 --targets all --batch 8" "" "" ;;
    5) [[ -e $out/smollm2 ]] || "$bin/lora-export" --model "$smollm2" --format hf --out "$out/smollm2" --quiet >/dev/null
      run "SmolLM2 bf16, r 8 attention, batch 2, text of 256" "$out/smollm2" "$out/dense.jsonl" "--text-block 256 --limit 60" \
        "--rank 8 --targets attention --batch 2" "" "" ;;
    6) run "SmolLM2 Q4_1, r 64 full-attention, batch 4, long prompts" "$smollm2" "$out/long.jsonl" "--limit 12" \
      "--rank 64 --targets full-attention --batch 4" "" "" ;;
  esac
done
[[ -e $smollm2 ]] || printf '\nSmolLM2 was not planned: `just smollm2` brings it\n'
