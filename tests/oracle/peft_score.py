"""Does PEFT load our adapter without a warning that it doesn't give its own, and see the loss that lora-eval sees?

usage: peft_score.py --base HF_DIR --adapter ADAPTER --data DATASET --report REPORT [--split valid]
"""
import argparse
import tempfile
import warnings
from pathlib import Path

import torch
from common import mean, report, rows, say, score
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

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


def read_base():
    """With rows for the tokens that the adapter's tokenizer has beyond the base's; random ones, for the adapter brings its own."""
    model = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32)
    tokens = len(AutoTokenizer.from_pretrained(args.adapter))
    if tokens > model.config.vocab_size:
        model.resize_token_embeddings(tokens)
    return model


def load(base, adapter):
    """The model, and what PEFT complains of."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(base, adapter)
    return model, [str(w.message) for w in seen if not issubclass(w.category, (DeprecationWarning, FutureWarning))]


def complaints_of_its_own():
    """The same about an adapter that PEFT made of our config."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        get_peft_model(read_base(), LoraConfig.from_pretrained(args.adapter)).save_pretrained(folder)
        return load(read_base(), folder)[1]


base = read_base()
if base.config.vocab_size == AutoConfig.from_pretrained(args.base).vocab_size:  # else its new rows are random
    peer = mean(score(base, data))
    difference = abs(ours["base"]["nll"] - peer)
    say("loss of the base: transformers", round(ours["base"]["nll"], 5), round(peer, 5), f"{difference:.1e}", difference <= TOLERANCE)

model, complaints = load(base, args.adapter)
own = complaints_of_its_own() if complaints else []
more = [text for text in complaints if text not in own]
note = " ".join(more)[:200] or (f"and {len(own)} that PEFT gives its own adapter of this config" if own else "")
say("PEFT loads our adapter", "0 warnings", f"{len(more)} warnings", len(more), not more, note)

peer = mean(score(model, data))
name = next(name for name, figures in ours.items() if figures["adapter"] and Path(figures["adapter"]).name == Path(args.adapter).name)
difference = abs(ours[name]["nll"] - peer)
say("loss of base + adapter: PEFT", round(ours[name]["nll"], 5), round(peer, 5), f"{difference:.1e}", difference <= TOLERANCE)
