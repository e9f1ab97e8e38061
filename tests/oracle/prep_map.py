"""Renders, tokenises and masks rows with datasets.map and the model's fast tokenizer: the same work as lora-prep.

usage: prep_map.py --base HF_DIR --raw RAW.jsonl [--processes N] [--cache DIR]

Rows are messages, prompt + completion, or instruction (+ input) + output. Each is rendered with and without its answer, and
both texts are tokenised, a batch at a time: what the first has more is learned. One JSON line: rows, tokens, seconds of loading and of map
(imports left out), seconds of processors that map took, and the peak memory of the largest process in bytes.
"""
import argparse
import json
import os
import resource
import tempfile
import time

import datasets
from transformers import AutoTokenizer

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--raw", required=True)
parser.add_argument("--processes", type=int, default=os.cpu_count())
parser.add_argument("--cache")
args = parser.parse_args()

os.environ["TOKENIZERS_PARALLELISM"] = "false"
datasets.disable_progress_bars()
tokenizer = AutoTokenizer.from_pretrained(args.base)


def messages(row):
    if row.get("messages"):
        return row["messages"]
    if row.get("instruction"):
        prompt = "\n\n".join(part for part in (row["instruction"], row.get("input")) if part)
        return [{"role": "user", "content": prompt}, {"role": "assistant", "content": row["output"]}]
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]


def encode(batch):
    rows = [dict(zip(batch, values)) for values in zip(*batch.values())]
    chats = [messages(row) for row in rows]
    prompts = tokenizer.apply_chat_template([chat[:-1] for chat in chats], tokenize=False, add_generation_prompt=True)
    wholes = tokenizer.apply_chat_template(chats, tokenize=False)
    starts = [len(ids) for ids in tokenizer(prompts, add_special_tokens=False)["input_ids"]]
    all_ids = tokenizer(wholes, add_special_tokens=False)["input_ids"]
    labels = [[-100] * start + ids[start:] for start, ids in zip(starts, all_ids)]
    return {"input_ids": all_ids, "labels": labels}


def cpu_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


with tempfile.TemporaryDirectory(dir=args.cache) as cache:
    begun = time.perf_counter()
    rows = datasets.load_dataset("json", data_files=args.raw, split="train", cache_dir=cache)
    loaded, cpu = time.perf_counter(), cpu_seconds()
    made = rows.map(encode, batched=True, num_proc=args.processes, remove_columns=rows.column_names, load_from_cache_file=False)
    mapped, cpu = time.perf_counter(), cpu_seconds() - cpu
    tokens = sum(len(ids) for ids in made["input_ids"])
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024
print(json.dumps({
    "rows": len(made), "tokens": tokens, "load_seconds": round(loaded - begun, 2),
    "map_seconds": round(mapped - loaded, 2), "map_cpu_seconds": round(cpu, 2), "peak_rss_bytes": peak,
}))
