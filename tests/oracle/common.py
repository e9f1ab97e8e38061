"""What the checks share: reading our outputs, and writing one line a check for the table."""
import json
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def rows(dataset, split, columns):
    """Rows of DATASET/SPLIT.parquet as dicts."""
    import pyarrow.parquet as pq

    return pq.read_table(Path(dataset) / f"{split}.parquet", columns=columns).to_pylist()


def report(folder):
    """report.json of lora-eval: model name -> its figures."""
    models = json.loads((Path(folder) / "report.json").read_text())["models"]
    return {model["name"]: model for model in models}


def predictions(folder):
    """predictions.jsonl of lora-eval."""
    with open(Path(folder) / "predictions.jsonl") as lines:
        return [json.loads(line) for line in lines]


def score(model, data):
    """Sum of -log p and number of supervised tokens of every row, by transformers."""
    import torch

    sums = []
    model.eval()
    with torch.no_grad():
        for row in data:
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1].float()
            labels = torch.tensor(row["labels"][1:])
            nll = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
            sums.append((float(nll), int((labels != -100).sum())))
    return sums


def mean(sums):
    """Mean loss of a supervised token."""
    return sum(nll for nll, _ in sums) / sum(tokens for _, tokens in sums)


def say(check, ours, peer, difference, ok, note=""):
    """One line of the table."""
    print(json.dumps({"check": check, "ours": ours, "peer": peer, "difference": difference, "ok": bool(ok), "note": note}), flush=True)
