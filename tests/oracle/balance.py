"""Is a step with the loss for the balance of experts the one that transformers and PEFT make of the same rows?

usage: balance.py --base HF_DIR --adapter ADAPTER --data DATASET --trained OUT --coefficient X
OUT was trained from ADAPTER, its first step on the two rows of DATASET's train split, a micro-batch each. transformers gets each
of them padded, with output_router_logits; a step has the mean over its micro-batches, as in TRL.
"""
import argparse
import json
from pathlib import Path

import torch
from common import rows, say
from peft import PeftModel
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
for name in ("base", "adapter", "data", "trained"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--coefficient", type=float, required=True)
args = parser.parse_args()

ours = json.loads((Path(args.trained) / "metrics.jsonl").read_text().splitlines()[0])
data = rows(args.data, "train", ["input_ids", "labels"])
assert len(data) == 2, f"{len(data)} rows"
base = AutoModelForCausalLM.from_pretrained(
    args.base, dtype=torch.float32, output_router_logits=True, router_aux_loss_coef=args.coefficient
)
model = PeftModel.from_pretrained(base, args.adapter, is_trainable=True).train()
supervised = sum(label != -100 for row in data for label in row["labels"][1:])
nll, balances = 0.0, []
for row in data:
    padded = row["input_ids"] + [0] * 5
    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * 5])
    out = model(input_ids=torch.tensor([padded]), attention_mask=mask)
    labels = torch.tensor(row["labels"][1:])
    own = torch.nn.functional.cross_entropy(out.logits[0, : len(labels)], labels, ignore_index=-100, reduction="sum")
    (own / supervised + args.coefficient * out.aux_loss / len(data)).backward()
    nll, balances = nll + float(own), balances + [float(out.aux_loss)]
parameters = [p for p in model.parameters() if p.requires_grad]
norm = float(torch.nn.utils.clip_grad_norm_(parameters, 1e9))
for what, mine, peer in [
    ("loss", ours["loss"], nll / supervised),
    ("aux_loss", ours["aux_loss"], sum(balances) / len(balances)),
    ("gradient norm", ours["grad_norm"], norm),
]:
    difference = abs(mine / peer - 1)
    say(f"{what} of a balanced step: PEFT", round(mine, 5), round(peer, 5), f"{difference:.1e}", difference <= 1e-3)
