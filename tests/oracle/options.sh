#!/usr/bin/env bash
# PEFT loads adapters that lora-train wrote with each option, and sees the loss that lora-eval sees.
# usage: options.sh DIR   (DIR: an empty folder; PYTHON: an interpreter with torch, transformers and peft)
# PEFT warns of its own adapters as well where a tied side trains and where lora_bias meets a base without biases: a note.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); root=$here/../..; bin=${CARGO_TARGET_DIR:-$root/target}/release; python=${PYTHON:-python3}
mkdir -p "$1"; cd "$1"
base=$root/data/tiny-chat
data=data
failed=0
head -40 "$root/data/tasks.jsonl" > rows.jsonl
"$bin/lora-prep" rows.jsonl --base "$base" --out data --force --quiet > prep.log
check() {
  local name=$1; shift
  "$bin/lora-train" --base "$base" --data "$data" --out "$name" --force --quiet --steps 4 --warmup 0 --rank 4 --lr 2e-3 "$@" > "$name.log"
  "$bin/lora-eval" --base "$base" --data "$data" --split train --adapter "$name" --out "$name-report" --force --quiet > "$name-eval.log"
  echo "== $*"
  "$python" "$here/peft_score.py" --base "$base" --adapter "$name" --data "$data" --report "$name-report" --split train 2> "$name-peft.log" > "$name-checks.jsonl" || failed=1
  "$python" "$here/table.py" < "$name-checks.jsonl" || failed=1
}
check dora --dora --targets embed_tokens,lm_head,v_proj,down_proj
check saved --targets q_proj --modules-to-save lm_head,norm,up_proj
check pissa --init pissa --rslora --rank-pattern q_proj=2
check olora --init olora
check olora-dora --init olora --dora --rslora
check pissa-dora --init pissa --dora --dropout 0.1
check patterns --layers 1 --targets q_proj,v_proj,down_proj --rank-pattern v_proj=2 --alpha-pattern q_proj=9 --rslora --exclude layers.1.mlp
check biases --bias all --lora-bias --lora-plus-ratio 8
sed 's/"prompt":"/&<|ask|>/; s/"completion":"/&<|say|>/' rows.jsonl > asked.jsonl
"$bin/lora-prep" asked.jsonl --base "$base" --out asked --add-tokens '<|ask|>,<|say|>' --force --quiet > asked.log
data=asked
check tokens --targets q_proj,v_proj
check tokens-saved --targets q_proj --modules-to-save embed_tokens,lm_head
exit "$failed"
