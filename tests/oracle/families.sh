#!/usr/bin/env bash
# Small random models of every family: does PEFT load our adapter without a warning and give our loss; does transformers
# load our merged model, and the folder that we make of the GGUF, with our loss; and does llama.cpp, on the GGUF that we
# write, continue prompts with our greedy tokens, for the base, the base with a GGUF adapter, and the merged model?
# usage: tests/oracle/families.sh DIR [NAME ...]     DIR as setup.sh made it; the names default to all of make_families.py
# About ten minutes on 2 cores. The outputs stay in DIR/families.
set -euo pipefail
dir=$(cd "${1:?usage: tests/oracle/families.sh DIR [NAME ...]}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
hf=$dir/smollm2-hf
out=$dir/families
bin=${CARGO_TARGET_DIR:-$root/target}/release
python() { HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$dir/venv/bin/python" "$@"; }
ours() { local tool=$1; shift; "$bin/$tool" "$@" --quiet --force >>"$out/tools.jsonl" || { echo "$tool $* failed" >&2; failed=1; }; }
check() { python "$here/$1.py" "${@:2}" 2>>"$out/peers.log" >>"$out/checks.jsonl" || { echo "$* failed, see $out/peers.log" >&2; failed=1; }; }

mkdir -p "$out/models"
: >"$out/tools.jsonl" >"$out/peers.log"
failed=0
python "$here/make_families.py" "$out/models" "$hf" >"$out/names" 2>>"$out/peers.log"
[[ $# -gt 1 ]] && printf '%s\n' "${@:2}" >"$out/names"
head -n 200 "$root/data/tasks.jsonl" >"$out/rows.jsonl"
ours lora-prep "$out/rows.jsonl" --base "$hf" --out "$out/data" --seed 0
head -n 2 "$root/data/tasks.jsonl" >"$out/two.jsonl"
ours lora-prep "$out/two.jsonl" --base "$hf" --out "$out/two" --valid 0 --seed 0

is_mixture() { [[ $1 == *-moe || $1 == *moe || $1 == olmoe* || $1 == mixtral* || $1 == gpt_oss* ]]; }
# Of sigmoids transformers has no loss for the balance of experts.
is_balanced() { is_mixture "$1" && [[ $1 != lfm2_moe* ]]; }
# A mixture twice: an adapter on the attention, and one on experts and router beside it.
while read -r name; do echo "$name"; is_mixture "$name" && echo "$name+experts"; done <"$out/names" >"$out/rows" || true

while read -r name; do
  model=$out/models/${name%+experts} work=$out/work-$name
  mkdir -p "$work"
  targets=(--targets all-linear)
  # Where PEFT takes experts for parameters it knows no other targets beside them; Granite's MLP beside experts is one of linear layers.
  is_mixture "${name%+experts}" && [[ $name != granite* && $name != lfm2* ]] && targets=(--targets full-attention)
  [[ $name == *+experts ]] && targets+=(--target-parameters experts,router)
  # llama.cpp doesn't apply LoRA to per_layer_model_projection.
  [[ $name == gemma4 ]] && targets=(--targets q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj,per_layer_input_gate,per_layer_projection)
  ours lora-train --base "$model" --data "$out/data" --out "$work/adapter" --rank 4 --alpha 8 "${targets[@]}" --batch 4 \
    --lr 1e-2 --steps 4 --schedule constant --warmup 0 --seed 0
  ours lora-eval --base "$model" --data "$out/data" --adapter "$work/adapter" --out "$work/report" --generate 10 --max-new-tokens 24
  ours lora-merge --base "$model" --adapter "$work/adapter" --out "$work/merged" --dtype f32
  ours lora-export --model "$model" --format gguf --dtype f32 --out "$work/base.gguf"
  ours lora-export --model "$work/merged" --format gguf --dtype f32 --out "$work/merged.gguf"
  ours lora-export --adapter "$work/adapter" --base "$model" --format gguf --dtype f32 --out "$work/adapter.gguf"
  ours lora-eval --base "$work/merged" --data "$out/data" --out "$work/report-merged" --generate 0
  : >"$out/checks.jsonl"
  if is_balanced "${name%+experts}"; then
    ours lora-train --base "$model" --data "$out/two" --adapter "$work/adapter" --out "$work/balanced" --batch 1 \
      --accumulation 2 --steps 1 --warmup 0 --router-aux-loss-coef 0.5
    check balance --base "$model" --adapter "$work/adapter" --data "$out/two" --trained "$work/balanced" --coefficient 0.5
  fi
  check peft_score --base "$model" --adapter "$work/adapter" --data "$out/data" --report "$work/report"
  check merged --merged "$work/merged" --data "$out/data" --report "$work/report-merged"
  ours lora-export --model "$work/base.gguf" --format hf --dtype f32 --out "$work/back"
  check merged --name "model back from GGUF" --merged "$work/back" --data "$out/data" --report "$work/report"
  if [[ $name == *-mxfp4* ]]; then # llama.cpp rounds what it multiplies with such blocks to 8 bits: its tokens differ near ties
    check mxfp4_values --gguf "$work/base.gguf" --folder "$model"
    [[ $name == *+experts ]] || check mxfp4_values --gguf "$work/merged.gguf" --folder "$work/merged"
    # An adapter on the experts has them widened: their tokens are those of any f32 model.
    [[ $name != *+experts ]] || check llamacpp --name "merged GGUF" --model "$work/merged.gguf" --data "$out/data" --report "$work/report" --f32-cache --of adapter
    echo "== $name"
    python "$here/table.py" <"$out/checks.jsonl" || failed=1
    continue
  fi
  llama=(--data "$out/data" --report "$work/report" --f32-cache)
  check llamacpp --name "base GGUF" --model "$work/base.gguf" "${llama[@]}" --of base
  check llamacpp --name "adapter GGUF on the base's" --model "$work/base.gguf" --lora "$work/adapter.gguf" "${llama[@]}" --of adapter
  check llamacpp --name "merged GGUF" --model "$work/merged.gguf" "${llama[@]}" --of adapter
  echo "== $name"
  python "$here/table.py" <"$out/checks.jsonl" || failed=1
done <"$out/rows"
exit "$failed"
