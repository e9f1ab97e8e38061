"""Are the ids that we make from a GGUF those of the Hugging Face folder's tokenizer?

usage: tokenizer.py --hf HF_DIR --data DATASET_MADE_WITH_THE_GGUF --hf-data DATASET_MADE_WITH_THE_HF_DIR
Every row of every split: prompt + completion through transformers' tokenizer, and our own ids from either base.
"""
import argparse
from pathlib import Path

from common import rows, say
from transformers import AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("--hf", required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--hf-data", required=True)
args = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(args.hf)
columns = ["input_ids", "labels", "prompt", "completion"]
total = equal = same = 0
first = ""
for split in sorted(path.stem for path in Path(args.data).glob("*.parquet")):
    ours, ours_hf = rows(args.data, split, columns), rows(args.hf_data, split, columns)
    same += sum(a == b for a, b in zip(ours, ours_hf)) if len(ours) == len(ours_hf) else 0
    for row in ours:
        ids = tokenizer(row["prompt"] + row["completion"], add_special_tokens=False)["input_ids"]
        total += 1
        equal += ids == row["input_ids"]
        first = first or ("" if ids == row["input_ids"] else f"first: {row['prompt'][-60:]!r}")
say("ids from the GGUF = transformers' tokenizer", f"{total} rows", f"{equal} equal", total - equal, total and equal == total, first)
say("dataset from the GGUF = dataset from the HF folder", f"{total} rows", f"{same} equal", total - same, total and same == total)
