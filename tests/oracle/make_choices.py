"""Multiple choice by likelihood, asked of lm-evaluation-harness itself: tests/fixtures/choices.

    python tests/oracle/make_choices.py        # needs torch, transformers, datasets and lm-eval

For each row: Σ log p of each choice's tokens after the prompt in the model's chat template, and what the harness makes of
them: acc by the sum, acc_norm by the sum over the characters of the choice, acc_bytes over its bytes.
"""
import json, pathlib, random
from lm_eval import evaluator
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM

root = pathlib.Path(__file__).parents[2]
base = root / "data/tiny-chat"
rows = [json.loads(line) for line in open(root / "data/tasks.jsonl")]
chance = random.Random(7)
out = root / "tests/fixtures/choices"
out.mkdir(exist_ok=True)

# What the tiny model knows: the right choice is often an answer in words, sometimes a call that it has never seen. In every
# second row some choices have characters of several bytes, which tells the two lengths apart.
WORDS = ["I added {} to your list.", "I moved {} to friday.", "You have nothing to do.", "Done: {} was removed from the list."]
SHORT, WIDE = ["QZXJ", "%$", "zq", "~~~~"], ["ééééé", "Żółć", "ñandú", "日本日本"]
asked = []
for number, row in enumerate(chance.sample(rows, 40)):
    title = " ".join(row["prompt"].rstrip(".?!").split()[-2:])
    choices = [template.format(title) for template in chance.sample(WORDS, 3)] + [row["completion"]]
    if number % 2:
        choices = chance.sample(SHORT, 2) + chance.sample(WIDE, 2)
    chance.shuffle(choices)
    asked.append({"prompt": row["prompt"], "completion": choices[number // 2 % 4], "choices": choices})
(out / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in asked))

task = ConfigurableTask(config={
    "task": "choices", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(out / "rows.jsonl")}}, "test_split": "test",
    "output_type": "multiple_choice", "doc_to_text": "{{prompt}}", "doc_to_choice": "choices",
    "doc_to_target": lambda doc: doc["choices"].index(doc["completion"]), "target_delimiter": "",
    "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "acc_bytes")],
})
model = HFLM(pretrained=str(base), device="cpu", dtype="float32", batch_size=1)
samples = evaluator.evaluate(model, {"choices": task}, apply_chat_template=True, bootstrap_iters=0)["samples"]["choices"]
samples.sort(key=lambda sample: sample["doc_id"])
expected = [{"sums": [answer[0][0] for answer in sample["resps"]], **{name: sample[name] for name in ("acc", "acc_norm", "acc_bytes")}} for sample in samples]
(out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
mean = lambda key: sum(row[key] for row in expected) / len(expected)
gap = lambda values: sorted(values)[-1] - sorted(values)[-2]
print({name: mean(name) for name in ("acc", "acc_norm", "acc_bytes")}, f"smallest gap {min(gap(row['sums']) for row in expected):.4f}")
print("rows told apart by bytes and characters:", sum(row["acc_norm"] != row["acc_bytes"] for row in expected))
