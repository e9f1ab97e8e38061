#!/usr/bin/env bash
# Adapters combined and in every format, against PEFT, mlx-lm and llama.cpp, on SmolLM2.
# usage: tests/oracle/formats.sh DIR     DIR as setup.sh made it. A few minutes on 2 cores; the outputs stay in DIR/formats.
set -euo pipefail
dir=$(cd "${1:?usage: tests/oracle/formats.sh DIR}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$dir/formats
bin=${CARGO_TARGET_DIR:-$root/target}/release
python() { HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$dir/venv/bin/python" "$@"; }
ours() { local tool=$1; shift; "$bin/$tool" "$@" --quiet --force >>"$out/tools.jsonl" || { echo "$tool $* failed" >&2; failed=1; }; }
check() { python "$here/$1.py" "${@:2}" 2>>"$out/peers.log" >>"$out/checks.jsonl" || { echo "$* failed, see $out/peers.log" >&2; failed=1; }; }

mkdir -p "$out"
: >"$out/tools.jsonl" >"$out/checks.jsonl" >"$out/peers.log"
failed=0
base=$out/base
# From the GGUF: its config.json also says rope_theta as mlx-lm reads it (transformers 5 alone writes rope_parameters).
ours lora-export --model "$dir/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" --format hf --dtype f32 --out "$base"
head -n 200 "$root/data/tasks.jsonl" >"$out/rows.jsonl"
ours lora-prep "$out/rows.jsonl" --base "$base" --out "$out/data" --seed 0

# Two adapters that differ in rank, scaling (one is rsLoRA) and targets.
settings=(--base "$base" --data "$out/data" --batch 4 --lr 1e-3 --steps 6 --schedule constant --warmup 0 --seed 0)
ours lora-train "${settings[@]}" --rank 8 --alpha 16 --targets attention --out "$out/a"
ours lora-train "${settings[@]}" --rank 4 --alpha 8 --rslora --targets all --out "$out/b"
parts=(--adapter "$out/b" --adapter "$out/a") # rsLoRA first: PEFT gives the sum the scaling of the first
ours lora-merge "${parts[@]}" --weight -0.5,0.8 --to-adapter --out "$out/both"
check combined --base "$base" --combined "$out/both" "${parts[@]}" --weight=-0.5 --weight 0.8 --data "$out/data"

# PEFT → GGUF → PEFT → GGUF, and PEFT → mlx-lm; mlx-lm's own adapter → lora-eval.
of=(--base "$base")
ours lora-export "${of[@]}" --adapter "$out/both" --format gguf --out "$out/once.gguf"
ours lora-export "${of[@]}" --adapter "$out/once.gguf" --format peft --out "$out/back"
ours lora-export "${of[@]}" --adapter "$out/back" --format gguf --out "$out/twice.gguf"
ours lora-export "${of[@]}" --adapter "$out/both" --format mlx --out "$out/mlx"
ours lora-export --model "$base" --format gguf --dtype f32 --out "$out/base.gguf"
python "$here/make_mlx_adapter.py" "$base" "$out/theirs" 2>>"$out/peers.log"
ours lora-eval "${of[@]}" --data "$out/data" --adapter "$out/both" --adapter "$out/theirs" --out "$out/report" --limit 20 --generate 8

llama=(--data "$out/data" --report "$out/report" --f32-cache)
check llamacpp --name "GGUF adapter after a round trip" --model "$out/base.gguf" --lora "$out/twice.gguf" "${llama[@]}" --of both
mlx=(--base "$base" --data "$out/data" --report "$out/report")
check mlx_score --name "loss with our folder for mlx-lm: mlx-lm" --adapter "$out/mlx" "${mlx[@]}" --of both
check mlx_score --name "loss with a folder of mlx-lm's: mlx-lm" --adapter "$out/theirs" "${mlx[@]}" --of theirs

python "$here/table.py" <"$out/checks.jsonl" || failed=1
exit "$failed"
