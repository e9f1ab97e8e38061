"""The peer: LoRA by transformers + PEFT + torch on the same card, with the same rows, as a reader of their documentation would.

usage: peft.py --base DIR --data DATA.parquet --batch N --steps N [--adapters f32,bf16] [--rank 16 --alpha 32 --lr 1e-4]
The base is bfloat16, attention is sdpa, LoRA on all seven linear layers, AdamW. All rows have the same length, so nothing is
padded. `--adapters f32` computes under autocast, as Trainer does with bf16=True; `bf16` holds the adapters in bfloat16, too,
which is the faster way. What doesn't fit is tried again with gradient checkpointing. Prints a line of JSON for each way.
"""
import argparse
import gc
import json
import os
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import pyarrow.parquet as pq
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WARM_UP = 3


def batches(path, size, device):
    """Batches of rows in their order, over and over."""
    table = pq.read_table(path, columns=["input_ids", "labels"])
    ids, labels = (torch.tensor(table[name].to_pylist(), device=device) for name in ("input_ids", "labels"))
    at = 0
    while True:
        rows = torch.arange(at, at + size, device=device) % len(ids)
        yield ids[rows], labels[rows]
        at = (at + size) % len(ids)


def train(model, args, device):
    """Seconds and loss of every step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.0)
    mixed = torch.autocast(device, torch.bfloat16, enabled=parameters[0].dtype == torch.float32)
    data = batches(args.data, args.batch, device)
    seconds, losses, tokens = [], [], 0
    for _ in range(args.steps):
        ids, labels = next(data)
        tokens = ids.numel()
        wait(device)
        began = time.perf_counter()
        with mixed:
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        wait(device)
        seconds.append(time.perf_counter() - began)
    return seconds, losses, tokens


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def measure(base, kind, args, device):
    """One way of holding the adapters; with gradient checkpointing only if memory is short without."""
    for checkpointing in (False, True):
        torch.manual_seed(0)
        config = LoraConfig(r=args.rank, lora_alpha=args.alpha, target_modules=LINEAR, task_type="CAUSAL_LM")
        model = get_peft_model(base, config, autocast_adapter_dtype=kind == "f32")
        model.train()
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            seconds, losses, tokens = train(model, args, device)
        except torch.OutOfMemoryError:
            if checkpointing:
                raise
            seconds = None
        base = model.unload()
        del model
        gc.collect()
        if seconds is not None:
            break
        torch.cuda.empty_cache()
    steady = seconds[WARM_UP:] or seconds
    said = {
        "adapters": kind,
        "checkpointing": checkpointing,
        "tokens_per_step": tokens,
        "tokens_per_s": tokens / statistics.median(steady),
        "losses": losses,
    }
    if device == "cuda":
        said["allocated"] = torch.cuda.max_memory_allocated()
        said["reserved"] = torch.cuda.max_memory_reserved()
        torch.cuda.empty_cache()
    return base, said


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--adapters", default="f32,bf16")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=32)
    parser.add_argument("--lr", type=float, default=1e-4)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = AutoModelForCausalLM.from_pretrained(
        args.base, dtype=torch.bfloat16, attn_implementation="sdpa", device_map={"": device}
    )
    for kind in args.adapters.split(","):
        base, said = measure(base, kind, args, device)
        print(json.dumps(said), flush=True)


main()
