"""Does llama.cpp continue held-out prompts with the tokens of lora-eval's greedy answers?

usage: llamacpp.py --name LABEL --model MODEL.gguf [--lora ADAPTER.gguf] --data DATASET --report REPORT --of MODEL_NAME
                   [--split valid] [--prompts 5] [--f32-cache]
MODEL_NAME is the model in predictions.jsonl whose answers are compared. One prompt may part where llama.cpp itself
gives our token a log-probability within TIE of its own choice: the two sum in another order, and that is a tie.
"""
import argparse
import json
from pathlib import Path

import xllamacpp
from common import predictions, rows, say

TIE = 0.05  # nats
TOP = 5

parser = argparse.ArgumentParser()
parser.add_argument("--name", required=True)
parser.add_argument("--model", required=True)
parser.add_argument("--lora")
parser.add_argument("--data", required=True)
parser.add_argument("--report", required=True)
parser.add_argument("--of", required=True)
parser.add_argument("--split", default="valid")
parser.add_argument("--prompts", type=int, default=5)
parser.add_argument("--f32-cache", action="store_true", help="keys and values in f32, as ours are, instead of f16")
args = parser.parse_args()


def server():
    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.n_ctx, params.n_parallel, params.warmup = 2048, 1, False
    params.cpuparams.n_threads = 1  # two would wait for each other at every step of so small a model
    params.verbosity = 10  # makes the answer hold its tokens
    if args.f32_cache:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if args.lora:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(args.lora, 1.0)]
    return xllamacpp.Server(params)


def continue_greedily(llama, prompt, tokens):
    """Steps of the continuation: llama.cpp's id and its most probable ids with their log-probabilities."""
    request = {"prompt": prompt, "n_predict": tokens, "max_tokens": tokens, "temperature": 0, "n_probs": TOP,
               "cache_prompt": False, "verbose": True, "return_tokens": True}  # fmt: skip
    answer = llama.handle_completions(request)
    # Log-probabilities are told for tokens that end a character only: match them to the tokens in order.
    told = iter(answer["choices"][0]["logprobs"]["content"])
    steps, step = [], next(told, None)
    for token in answer["__verbose"]["tokens"]:
        known = step is not None and step["id"] == token
        steps.append((token, {top["id"]: top["logprob"] for top in step["top_logprobs"]} if known else {}))
        step = next(told, None) if known else step
    return steps


def parting(ours, steps):
    """None if equal, else (position, log-probability by which llama.cpp prefers its own token, None if unknown)."""
    for position, (token, top) in enumerate(steps):
        if position >= len(ours) or token != ours[position]:
            gap = top[token] - top[ours[position]] if position < len(ours) and {token, ours[position]} <= top.keys() else None
            return position, gap
    return None if len(steps) == len(ours) else (len(steps), None)


def questions():
    """(prompt ids, our answer's ids) of the first different prompts that were answered."""
    data = rows(args.data, args.split, ["input_ids", "labels"])
    chosen = {}
    for row, line in zip(data, predictions(args.report)):
        start = next(i for i, label in enumerate(row["labels"]) if label >= 0)
        answer = line["models"][args.of]["ids"]
        if answer is not None and len(chosen) < args.prompts:
            chosen.setdefault(tuple(row["input_ids"][:start]), answer)
    return chosen.items()


generation = json.loads((Path(args.report) / "report.json").read_text())["generation"]
stop = set(generation["stop_ids"])
llama = server()
equal, ties, apart, notes = 0, 0, 0, []
for number, (prompt, ours) in enumerate(questions(), 1):
    steps = continue_greedily(llama, list(prompt), generation["max_new_tokens"])
    end = next((i for i, (token, _) in enumerate(steps) if token in stop), len(steps))
    where = parting(ours, steps[:end])
    if where is None:
        equal += 1
        continue
    position, gap = where
    tie = gap is not None and gap <= TIE
    ties, apart = ties + tie, apart + (not tie)
    notes.append(f"prompt {number} parts at token {position + 1}" + (f" by {gap:.4f} nats" if gap is not None else ""))
total = equal + ties + apart
say(f"greedy tokens: {args.name} in llama.cpp", f"{total} prompts", f"{equal} equal, {ties} tied", total - equal,
    total == args.prompts and apart == 0 and ties <= 1, "; ".join(notes))
