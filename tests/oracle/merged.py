"""Is our merged folder a model that transformers loads, with the loss that lora-eval sees, row for row?

usage: merged.py --merged HF_DIR --data DATASET --report REPORT_ON_THE_MERGED_MODEL [--split valid] [--name LABEL]
"""
import argparse
import logging

import torch
import transformers
from common import mean, predictions, report, rows, say, score
from transformers import AutoModelForCausalLM, AutoTokenizer

TOLERANCE = 1e-3  # nats a token

parser = argparse.ArgumentParser()
parser.add_argument("--merged", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--report", required=True)
parser.add_argument("--split", default="valid")
parser.add_argument("--name", default="merged model")
args = parser.parse_args()

complaints = []
# Said of published files, too: Hunyuan's class reads a key that its configuration's check doesn't know, Apertus' looks for a
# kernel of its own, MXFP4 for a card.
KNOWN = (
    "Unrecognized keys in `rope_parameters` for 'rope_type'='dynamic': {'alpha'}",
    "CUDA-fused xIELU not available",
    "MXFP4 quantization is only supported on GPUs",
)


class Collect(logging.Handler):
    """transformers warns of missing and unexpected weights through its logger."""

    def emit(self, record):
        if not record.getMessage().startswith(KNOWN):
            complaints.append(record.getMessage())


transformers.logging.set_verbosity_warning()
logging.getLogger("transformers").addHandler(Collect(level=logging.WARNING))
model, loading = AutoModelForCausalLM.from_pretrained(args.merged, dtype=torch.float32, output_loading_info=True)
AutoTokenizer.from_pretrained(args.merged)
wrong = [f"{kind}: {sorted(names)[:3]}" for kind, names in loading.items() if names] + complaints
say(f"transformers loads our {args.name}", "0 complaints", f"{len(wrong)} complaints", len(wrong), not wrong, " ".join(wrong)[:200])

data = rows(args.data, args.split, ["input_ids", "labels"])
peer = score(model, data)
ours = report(args.report)["base"]["nll"]
difference = abs(ours - mean(peer))
say(f"loss of the {args.name}: transformers", round(ours, 5), round(mean(peer), 5), f"{difference:.1e}", difference <= TOLERANCE)

by_row = [line["models"]["base"] for line in predictions(args.report)]
worst = max(abs(row["nll"] - nll) / max(tokens, 1) for row, (nll, tokens) in zip(by_row, peer))
say("  its worst row, nats a token", f"{len(by_row)} rows", f"{len(peer)} rows", f"{worst:.1e}", len(by_row) == len(peer) and worst <= 10 * TOLERANCE)
