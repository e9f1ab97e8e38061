#!/usr/bin/env bash
# Tokens a second and peak memory of training: rank 16 on all seven linear layers, batches of 8 examples.
# usage: tests/bench.sh [ORACLE_DIR [RAW.jsonl]]
#   ORACLE_DIR   made by tests/oracle/setup.sh: SmolLM2-135M, with transformers + PEFT beside us in the same run. Without
#                it only our own figures: on SmolLM2 where `just smollm2` has brought it, else on data/tiny-chat
#   RAW.jsonl    the examples [default: data/tasks.jsonl]
# Environment: STEPS (12), THREADS (all). Machines are noisy: compare the lines of one run, never two runs.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
steps=${STEPS:-12}
threads=${THREADS:-$(nproc)}
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

(cd "$root" && cargo build --release --locked --quiet --workspace --bins)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

number() { grep -o "\"$1\":[ ]*[0-9.e+]*" <<<"$2" | tail -n 1 | sed 's/.*:[ ]*//'; }
line() { awk -v n="$1" -v s="$2" -v b="$3" -v l="$4" 'BEGIN { printf "%-44s %10.0f %9.2f GB %11.4f\n", n, s, b / 1e9, l }'; }
ours() {
  local receipt
  receipt=$("$bin/lora-train" --base "$1" --data "$out/data" --out "$out/adapter" --force --quiet --json \
    --rank 16 --targets all --batch 8 --lr 5e-4 --schedule constant --warmup 0 --steps "$steps" --threads "$threads" | tail -n 1)
  line "lora-train, $(basename "$1")" "$(number tokens_per_s "$receipt")" "$(number peak_rss_bytes "$receipt")" "$(number last_loss "$receipt")"
}
peft() {
  local summary
  summary=$(HF_HUB_OFFLINE=1 "$oracle/venv/bin/python" "$root/tests/oracle/peft_train.py" --base "$1" --data "$out/data" \
    --r 16 --batch 8 --lr 5e-4 --steps "$steps" --threads "$threads" 2>/dev/null | tail -n 1)
  line "transformers + PEFT + torch, $(basename "$1")" "$(number tokens_per_s "$summary")" "$(number peak_rss_bytes "$summary")" "$(number last_loss "$summary")"
}

"$bin/lora-prep" "$raw" --base "${bases[0]}" --out "$out/data" --valid 0 --quiet >/dev/null
printf '%s steps of 8 examples of %s, %s threads\n' "$steps" "$(basename "$raw")" "$threads"
printf '%-44s %10s %12s %11s\n' 'rank 16 on all seven' 'tokens/s' 'peak memory' 'last loss'
for base in "${bases[@]}"; do ours "$base"; done
if [[ -n $oracle ]]; then
  peft "${bases[0]}"
else
  echo 'the peers were not measured: tests/oracle/setup.sh DIR brings them, then `just bench DIR`'
fi
