#!/usr/bin/env bash
# Repeats our claims with the real PEFT, transformers and llama.cpp, and prints one table. Exit 1 if a check is not ok.
# usage: tests/oracle/run.sh DIR [DATA.jsonl]     DIR as setup.sh made it; the data default to data/tasks.jsonl
# The outputs stay in DIR/run. Set STEPS for a shorter training (100 is the claim).
# About 20 minutes on 2 cores, most of them PEFT's training; a second run on the same data does not repeat that.
set -euo pipefail
dir=$(cd "${1:?usage: tests/oracle/run.sh DIR [DATA.jsonl]}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
data=$(realpath "${2:-$root/data/tasks.jsonl}")
steps=${STEPS:-100}
gguf=$dir/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
hf=$dir/smollm2-hf
out=$dir/run
bin=${CARGO_TARGET_DIR:-$root/target}/release
python() { HF_HUB_OFFLINE=1 "$dir/venv/bin/python" "$@"; }
ours() { echo "+ $*" >&2; local tool=$1; shift; "$bin/$tool" "$@" --quiet --force >>"$out/tools.jsonl"; }
check() { python "$here/$1.py" "${@:2}" 2>>"$out/peers.log" >>"$out/checks.jsonl" || { echo "$1 failed, see $out/peers.log" >&2; failed=1; }; }

[[ -e $dir/venv/ok && -e $gguf && -e $hf/model.safetensors ]] || { echo "first: tests/oracle/setup.sh $dir" >&2; exit 2; }
(cd "$root" && cargo build --release --locked --quiet --workspace --bins)
mkdir -p "$out"
: >"$out/tools.jsonl" >"$out/checks.jsonl" >"$out/peers.log"
failed=0

ours lora-prep "$data" --base "$gguf" --out "$out/data-gguf" --seed 0
ours lora-prep "$data" --base "$hf" --out "$out/data" --seed 0
check tokenizer --hf "$hf" --data "$out/data-gguf" --hf-data "$out/data"

settings=(--rank 16 --alpha 16 --targets all --batch 8 --lr 5e-4 --steps "$steps" --schedule constant --warmup 0 --weight-decay 0 --clip 1)
ours lora-train --base "$hf" --data "$out/data" --out "$out/adapter" "${settings[@]}" --seed 0
ours lora-eval --base "$hf" --data "$out/data" --adapter "$out/adapter" --out "$out/report" --generate all
check peft_score --base "$hf" --adapter "$out/adapter" --data "$out/data" --report "$out/report"
peft_train=(--r 16 --alpha 16 --batch 8 --lr 5e-4 --steps "$steps" --eval-split valid --seed 0)
stamp="${peft_train[*]} $(sha256sum <"$out/data/train.parquet") $(sha256sum <"$here/peft_train.py")"
if [[ $(cat "$out/peft_train.stamp" 2>/dev/null) != "$stamp" ]]; then # minutes of PEFT, the same for the same data
  python "$here/peft_train.py" --base "$hf" --data "$out/data" "${peft_train[@]}" 2>>"$out/peers.log" >"$out/peft_train.jsonl" &&
    printf '%s\n' "$stamp" >"$out/peft_train.stamp" || failed=1
fi
check training --report "$out/report" --adapter adapter --peer "$out/peft_train.jsonl"

ours lora-merge --base "$hf" --adapter "$out/adapter" --out "$out/merged" --data "$out/data"
ours lora-eval --base "$out/merged" --data "$out/data" --out "$out/report-merged" --generate 0
check merged --merged "$out/merged" --data "$out/data" --report "$out/report-merged"

ours lora-merge --base "$hf" --adapter "$out/adapter" --out "$out/merged-f32" --dtype f32 --data "$out/data"
ours lora-export --model "$out/merged-f32" --format gguf --dtype f16 --out "$out/merged.gguf"
ours lora-export --model "$hf" --format gguf --dtype f16 --out "$out/base.gguf"
ours lora-export --adapter "$out/adapter" --base "$hf" --format gguf --out "$out/adapter.gguf"
llama=(--data "$out/data" --report "$out/report" --of adapter)
check llamacpp --name "merged GGUF (f16)" --model "$out/merged.gguf" "${llama[@]}"
check llamacpp --name "adapter GGUF on the base's (f16)" --model "$out/base.gguf" --lora "$out/adapter.gguf" "${llama[@]}"
check llamacpp --name "base GGUF (f16)" --model "$out/base.gguf" --data "$out/data" --report "$out/report" --of base

python "$here/table.py" <"$out/checks.jsonl" || failed=1
exit "$failed"
