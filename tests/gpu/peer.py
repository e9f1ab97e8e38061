"""transformers + PEFT + torch on the same card and rows as lora-train: the peer for speed and memory.

usage: peer.py MODEL ROWS.parquet --steps 12 [--batch 1] [--r 16] [--alpha 16] [--checkpointing]

Base in bfloat16, scaled-dot-product attention, adapters in float32 under autocast as PEFT's examples train them, AdamW, rows of one
length (so that nothing is padded). Prints a JSON line: tokens per second (median of the steps behind the first three), peak
memory, losses.
"""
import argparse, json, statistics, time
import pyarrow.parquet as pq
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

a = argparse.ArgumentParser()
a.add_argument("model")
a.add_argument("rows")
a.add_argument("--steps", type=int, default=12)
a.add_argument("--batch", type=int, default=1)
a.add_argument("--r", type=int, default=16)
a.add_argument("--alpha", type=float, default=16)
a.add_argument("--checkpointing", action="store_true")
o = a.parse_args()
device = "cuda" if torch.cuda.is_available() else "cpu"
model = AutoModelForCausalLM.from_pretrained(o.model, dtype=torch.bfloat16, attn_implementation="sdpa", device_map=device)
model.config.use_cache = False
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
model = get_peft_model(model, LoraConfig(r=o.r, lora_alpha=o.alpha, target_modules=targets, task_type="CAUSAL_LM"))
if o.checkpointing:
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
params = [p for p in model.parameters() if p.requires_grad]
optimiser = torch.optim.AdamW(params, lr=2e-4, weight_decay=0.0, fused=device == "cuda")
rows = torch.tensor(pq.read_table(o.rows, columns=["input_ids"]).to_pydict()["input_ids"])
model.train()
seconds, losses = [], []
for step in range(o.steps):
    at = step * o.batch % len(rows)
    ids = rows[at:at + o.batch].to(device)
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.time()
    with torch.autocast(device, dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    optimiser.step()
    optimiser.zero_grad()
    losses.append(loss.item())
    if device == "cuda":
        torch.cuda.synchronize()
    seconds.append(time.time() - began)
tokens = o.batch * rows.shape[1]
rate = tokens / statistics.median(seconds[3:] or seconds)
peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
reserved = torch.cuda.max_memory_reserved() if device == "cuda" else 0
print(json.dumps({"tokens_per_s": round(rate, 1), "peak_bytes": peak, "reserved_bytes": reserved, "losses": losses}, separators=(",", ":")))
