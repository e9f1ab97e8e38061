"""A random adapter as mlx-lm itself makes and saves one: the last 4 layers, the default keys of attention and MLP.

usage: make_mlx_adapter.py BASE OUT   (mlx-lm 0.32.2, mlx 0.32.4 with its CPU backend)
"""
import sys
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load, save_config

base, out = sys.argv[1], Path(sys.argv[2])
out.mkdir(parents=True, exist_ok=True)
mx.set_default_device(mx.cpu)
mx.random.seed(0)
model, _ = load(base)
model.freeze()
parameters = {"rank": 6, "scale": 10.0, "dropout": 0.0, "keys": ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"]}
linear_to_lora_layers(model, 4, parameters)
model.update(tree_map_with_path(
    lambda name, x: mx.random.normal(x.shape) * 0.01 if name.endswith("lora_b") else x, model.trainable_parameters()))
mx.save_safetensors(str(out / "adapters.safetensors"), dict(tree_flatten(model.trainable_parameters())))
save_config({"model": base, "fine_tune_type": "lora", "num_layers": 4, "lora_parameters": parameters, "learning_rate": 1e-5},
            out / "adapter_config.json")
