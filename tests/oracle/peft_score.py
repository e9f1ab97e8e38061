"""Does PEFT load our adapter without a warning, and see the loss that lora-eval sees?

usage: peft_score.py --base HF_DIR --adapter ADAPTER --data DATASET --report REPORT [--split valid]
"""
import argparse
import warnings
from pathlib import Path

import torch
from common import mean, report, rows, say, score
from peft import PeftModel
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-3  # nats a token

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--adapter", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--report", required=True)
parser.add_argument("--split", default="valid")
args = parser.parse_args()

data = rows(args.data, args.split, ["input_ids", "labels"])
ours = report(args.report)
base = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32)
peer = mean(score(base, data))
difference = abs(ours["base"]["nll"] - peer)
say("loss of the base: transformers", round(ours["base"]["nll"], 5), round(peer, 5), f"{difference:.1e}", difference <= TOLERANCE)

with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    model = PeftModel.from_pretrained(base, args.adapter)
complaints = [str(w.message) for w in seen if not issubclass(w.category, (DeprecationWarning, FutureWarning))]
say("PEFT loads our adapter", "0 warnings", f"{len(complaints)} warnings", len(complaints), not complaints, " ".join(complaints)[:200])

peer = mean(score(model, data))
name = next(name for name, figures in ours.items() if figures["adapter"] and Path(figures["adapter"]).name == Path(args.adapter).name)
difference = abs(ours[name]["nll"] - peer)
say("loss of base + adapter: PEFT", round(ours[name]["nll"], 5), round(peer, 5), f"{difference:.1e}", difference <= TOLERANCE)
