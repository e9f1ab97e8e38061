#!/usr/bin/env bash
# Everything that can be shown on a card, in under five minutes: golden cases, a training run beside the CPU's, the same bytes
# twice, speed and memory beside transformers + PEFT + torch, and a 4-bit base. Needs the release binaries, and python3 with
# torch, transformers, peft, pyarrow and numpy for the peer and the random models; nothing comes from a network.
#
# usage: tests/gpu.sh BIN OUT [GOLDEN]     from the repository's root
#   BIN      folder of lora-prep, lora-train and lora-eval
#   OUT      folder for logs; models are made in a temporary one
#   GOLDEN   test binary of lora-model (cargo test --release -p lora-model --test it --no-run names it)
# variable: seeds="7"   of the training run beside the CPU's; each takes some twenty seconds more
set -u
bin=$1 out=$2 golden=${3:-} seeds=${seeds:-7}
mkdir -p "$out"
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$tmp"' EXIT
say() { printf '%s\n' "$*" | tee -a "$out/summary.txt"; }
# The last value of a key in a file of JSON lines.
last() { grep -o "\"$1\":[-0-9.e]*" "$2" | tail -n 1 | cut -d: -f2; }

say "card: $(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader)"
(timeout 120 python3 tests/gpu/model.py 8b "$tmp/8b" --rows 16 && timeout 100 python3 tests/gpu/gguf.py 8b "$tmp/8b.gguf") > "$out/models.log" 2>&1 &
models=$!

if [ -n "$golden" ]; then
  LORA_TEST_DEVICE=cuda timeout 90 "$golden" gpu:: > "$out/golden.log" 2>&1
  say "golden cases: $(grep '^test result' "$out/golden.log" | cut -c1-60)"
fi

"$bin/lora-prep" data/tasks.jsonl --base data/tiny-chat --valid 0.1 --seed 7 --out "$tmp/rows" > "$out/prep.log" 2>&1
tiny="--base data/tiny-chat --data $tmp/rows --rank 16 --alpha 16 --targets all-linear --dropout 0.05 --lr 5e-3 --epochs 20 --batch 8 --schedule cosine"
train() { # NAME SEED DEVICE
  timeout 150 "$bin/lora-train" $tiny --seed "$2" --device "$3" --out "$tmp/$1" > "$out/tiny-$1.log" 2>&1
}
for seed in $seeds; do
  train cpu-$seed $seed cpu &
  cpu=$!
  train cuda-$seed $seed cuda
  wait $cpu
  for run in cuda-$seed cpu-$seed; do
    timeout 60 "$bin/lora-eval" --base data/tiny-chat --data "$tmp/rows" --adapter "$tmp/$run" --split valid --generate all --device cuda --out "$tmp/eval-$run" > "$out/eval-$run.log" 2>&1
    say "tiny-chat trained, $run: valid loss $(last best_valid_loss "$out/tiny-$run.log"), exact match $(last exact_match "$out/eval-$run.log")"
  done
done
train again $seed cuda
say "tiny-chat on the card, twice: $(sha256sum "$tmp/cuda-$seed/adapter_model.safetensors" "$tmp/again/adapter_model.safetensors" | cut -c1-16 | tr '\n' ' ')"

# Tokens per second (median behind the first steps) and the card's memory of one run.
ours() { # LABEL BASE ROWS STEPS FLAGS…
  local label=$1 base=$2 rows=$3 steps=$4 peak=0 used
  shift 4
  timeout 80 "$bin/lora-train" --base "$base" --data "$rows" --rank 16 --targets all --steps "$steps" --batch 1 --warmup 0 --device cuda --out "$tmp/out-$label" "$@" > "$out/ours-$label.log" 2>&1 &
  local run=$!
  while kill -0 $run 2> /dev/null; do
    used=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits)
    [ "$used" -gt "$peak" ] && peak=$used
    sleep 0.2
  done
  wait $run || say "$label failed: $(grep -m 1 ^error "$out/ours-$label.log")"
  local rates
  rates=$(grep '"event":"step"' "$out/ours-$label.log" | grep -o '"tokens_per_s":[0-9]*' | cut -d: -f2 | tail -n +4 | sort -n)
  say "$label: $(echo "$rates" | sed -n "$((($(echo "$rates" | wc -l) + 1) / 2))p") tokens/s, $peak MiB of the card in use at most; $(grep -m 1 ^device "$out/ours-$label.log" | cut -d, -f3-)"
}
peer() { # LABEL MODEL ROWS STEPS
  timeout 80 python3 tests/gpu/peer.py "$2" "$3" --steps "$4" > "$out/peer-$1.log" 2>&1
  say "$1, transformers + PEFT: $(last tokens_per_s "$out/peer-$1.log") tokens/s, $(($(last reserved_bytes "$out/peer-$1.log") / 1048576)) MiB reserved by torch"
}
for shape in 1b 135m; do
  timeout 60 python3 tests/gpu/model.py $shape "$tmp/$shape" --rows 16 > "$out/model-$shape.log" 2>&1
  ours $shape "$tmp/$shape/model" "$tmp/$shape/rows.parquet" 12
  peer $shape "$tmp/$shape/model" "$tmp/$shape/rows.parquet" 10
done
wait $models
ours 8b "$tmp/8b/model" "$tmp/8b/rows.parquet" 8
peer 8b "$tmp/8b/model" "$tmp/8b/rows.parquet" 8
ours 8b-q4_k "$tmp/8b.gguf" "$tmp/8b/rows.parquet" 8
ours 8b-q4_k-8.6GB "$tmp/8b.gguf" "$tmp/8b/rows.parquet" 8 --memory 8.6GB
for shape in 1b 8b; do
  ours $shape-profile "$tmp/$shape/model" "$tmp/$shape/rows.parquet" 12 --profile
  sed -n '/^part /,/in products/p' "$out/ours-$shape-profile.log" | tee -a "$out/summary.txt"
done
