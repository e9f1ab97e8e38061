"""Trains an adapter with transformers + PEFT + torch on our prepared rows: the same work as lora-train.

usage: peft_train.py --base HF_DIR --data DATASET [--r 16] [--alpha 16] [--targets NAMES] [--batch 8] [--lr 2e-4]
                     [--steps 100] [--clip 1] [--weight-decay 0] [--seed 0] [--threads N] [--eval-split valid] [--out DIR]

A constant learning rate, no warm-up, no dropout. Rows are shuffled, then padded to the longest of their batch, as
transformers' collator does. One JSON line a step; the last line is a summary: tokens a second over all steps (padding
not counted), peak memory in bytes, and with --eval-split the loss per supervised token on that split, `nll`.
"""
import argparse
import json
import os
import random
import resource
import time

from common import mean, rows, score

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--r", type=int, default=16)
parser.add_argument("--alpha", type=float, default=16)
parser.add_argument("--targets", default="q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj")
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--lr", type=float, default=2e-4)
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--clip", type=float, default=1.0)
parser.add_argument("--weight-decay", type=float, default=0.0)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--eval-split")
parser.add_argument("--out")
args = parser.parse_args()


def collate(batch):
    """Right-padded ids, mask and labels."""
    length = max(len(row["input_ids"]) for row in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    mask, labels = ids.clone(), torch.full_like(ids, -100)
    for i, row in enumerate(batch):
        n = len(row["input_ids"])
        ids[i, :n] = torch.tensor(row["input_ids"])
        labels[i, :n] = torch.tensor(row["labels"])
        mask[i, :n] = 1
    return ids, mask, labels


def batches(data):
    """Endless shuffled batches; what is left of a pass is dropped."""
    rng, order = random.Random(args.seed), []
    while True:
        if len(order) < args.batch:
            order = rng.sample(range(len(data)), len(data))
        batch, order = [data[i] for i in order[: args.batch]], order[args.batch :]
        yield batch


def loss_of(model, batch):
    """Mean loss per supervised token, and the batch's real tokens."""
    ids, mask, labels = collate(batch)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    return loss, int(mask.sum())


torch.set_num_threads(args.threads)
torch.manual_seed(args.seed)
model = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32, attn_implementation="sdpa")
model.config.use_cache = False
config = LoraConfig(r=args.r, lora_alpha=args.alpha, target_modules=args.targets.split(","), task_type="CAUSAL_LM")
model = get_peft_model(model, config)
params = [p for p in model.parameters() if p.requires_grad]
optimiser = torch.optim.AdamW(params, lr=args.lr, weight_decay=args.weight_decay)

model.train()
source = batches(rows(args.data, "train", ["input_ids", "labels"]))
tokens, seconds = 0, 0.0
for step in range(1, args.steps + 1):
    batch = next(source)
    began = time.perf_counter()
    loss, real = loss_of(model, batch)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(params, args.clip)
    optimiser.step()
    optimiser.zero_grad()
    tokens, seconds = tokens + real, seconds + time.perf_counter() - began
    print(json.dumps({"event": "step", "step": step, "loss": loss.item(), "grad_norm": float(norm)}), flush=True)

summary = {
    "event": "summary",
    "tokens_per_s": tokens / seconds,
    "last_loss": loss.item(),
    "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}
if args.eval_split:
    summary["nll"] = mean(score(model, rows(args.data, args.eval_split, ["input_ids", "labels"])))
if args.out:
    model.save_pretrained(args.out)
print(json.dumps(summary))
