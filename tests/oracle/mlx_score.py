"""Does mlx-lm load an adapter folder that we wrote (or that it wrote and we read), and see lora-eval's losses?

usage: mlx_score.py --name LABEL --base HF_DIR --adapter MLX_DIR --data DATASET --report REPORT --of MODEL_NAME [--split valid] [--rows 4]
mlx runs on its CPU backend here. MODEL_NAME is the model in predictions.jsonl whose rows are compared.
"""
import argparse

import mlx.core as mx
import mlx.nn as nn
from common import predictions, rows, say
from mlx_lm.utils import load

TOLERANCE = 1e-3  # nats a token

parser = argparse.ArgumentParser()
parser.add_argument("--name", required=True)
parser.add_argument("--base", required=True)
parser.add_argument("--adapter", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--report", required=True)
parser.add_argument("--of", required=True)
parser.add_argument("--split", default="valid")
parser.add_argument("--rows", type=int, default=4, help="mlx is slow without its GPU")
args = parser.parse_args()

mx.set_default_device(mx.cpu)
model, _ = load(args.base, adapter_path=args.adapter)


def score(row):
    logits = model(mx.array([row["input_ids"]]))[0, :-1].astype(mx.float32)
    supervised = [position for position, label in enumerate(row["labels"][1:]) if label >= 0]
    targets = mx.array([row["labels"][position + 1] for position in supervised])
    return nn.losses.cross_entropy(logits[mx.array(supervised)], targets, reduction="sum").item(), len(supervised)


ours = [line["models"][args.of] for line in predictions(args.report)][: args.rows]
theirs = [score(row) for row in rows(args.data, args.split, ["input_ids", "labels"])[: len(ours)]]
tokens = sum(n for _, n in theirs)
means = sum(row["nll"] for row in ours) / tokens, sum(nll for nll, _ in theirs) / tokens
worst = max(abs(row["nll"] - nll) / n for row, (nll, n) in zip(ours, theirs))
say(args.name, round(means[0], 5), round(means[1], 5), f"{abs(means[0] - means[1]):.1e}", worst <= 10 * TOLERANCE and abs(means[0] - means[1]) <= TOLERANCE,
    f"{len(ours)} rows, the worst {worst:.1e} nats a token")
