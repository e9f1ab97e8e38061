"""Is our combined adapter, loaded by PEFT, the weighted sum of its parts?

usage: combined.py --base HF_DIR --combined ADAPTER --adapter A --adapter B --weight W --weight W --data DATASET [--split valid]
The sum is taken over PEFT's own get_delta_weight and added to the weights; PEFT's own add_weighted_adapter stands beside it.
"""
import argparse
import warnings

import torch
from common import rows, say
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-3  # of logits, which are about 10 to 30

parser = argparse.ArgumentParser()
parser.add_argument("--base", required=True)
parser.add_argument("--combined", required=True)
parser.add_argument("--adapter", action="append", required=True)
parser.add_argument("--weight", action="append", type=float, required=True)
parser.add_argument("--data", required=True)
parser.add_argument("--split", default="valid")
args = parser.parse_args()
samples = [torch.tensor([row["input_ids"]]) for row in rows(args.data, args.split, ["input_ids"])[:4]]


def logits(model):
    with torch.no_grad():
        return [model(input_ids=ids).logits for ids in samples]


def apart(left, right):
    return max(float((x - y).abs().max()) for x, y in zip(left, right))


def base():
    return AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.float32).eval()


names = [f"part{i}" for i in range(len(args.adapter))]
model = PeftModel.from_pretrained(base(), args.adapter[0], adapter_name=names[0])
for name, path in zip(names[1:], args.adapter[1:]):
    model.load_adapter(path, adapter_name=name)
model.add_weighted_adapter(names, args.weight, "sum", combination_type="cat")
model.set_adapter("sum")
theirs = logits(model)
for layer in model.modules():
    if isinstance(layer, LoraLayer):
        for name, weight in zip(names, args.weight):
            if name in layer.lora_A:
                layer.get_base_layer().weight.data += weight * layer.get_delta_weight(name)
exact = logits(model.unload())

with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    ours = logits(PeftModel.from_pretrained(base(), args.combined))
complaints = [str(w.message) for w in seen if not issubclass(w.category, (DeprecationWarning, FutureWarning))]
say("PEFT loads our combined adapter", "0 warnings", f"{len(complaints)} warnings", len(complaints), not complaints, " ".join(complaints)[:200])
difference = apart(ours, exact)
say("  its logits are those of the weighted sum", f"{len(samples)} rows", f"{apart(theirs, exact):.1e} away: PEFT's own cat", f"{difference:.1e}", difference <= TOLERANCE)
