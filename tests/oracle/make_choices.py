"""Multiple choice by likelihood as lm-evaluation-harness computes it, with transformers: tests/fixtures/choices.

    python tests/oracle/make_choices.py        # needs torch and transformers

For each row: Σ log p of each choice's tokens after the prompt; acc by the sum, acc_norm by the sum over the bytes of the
choice (lm_eval/api/task.py, `process_results` of multiple_choice, which divides by the characters: the same for ASCII).
"""
import json, pathlib, random
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

root = pathlib.Path(__file__).parents[2]
base = root / "data/tiny-chat"
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
rows = [json.loads(line) for line in open(root / "data/tasks.jsonl")]
chance = random.Random(7)
out = root / "tests/fixtures/choices"
out.mkdir(exist_ok=True)

# What the tiny model knows: the right choice is often an answer in words, sometimes a call that it has never seen.
WORDS = ["I added {} to your list.", "I moved {} to friday.", "You have nothing to do.", "Done: {} was removed from the list."]
asked, expected = [], []
for number, row in enumerate(chance.sample(rows, 40)):
    title = " ".join(row["prompt"].rstrip(".?!").split()[-2:])
    choices = [template.format(title) for template in chance.sample(WORDS, 3)] + [row["completion"]]
    chance.shuffle(choices)
    right = choices[number % 4]
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": row["prompt"]}], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    sums = []
    for choice in choices:
        own = tokenizer(choice, add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = model(torch.tensor([ids + own])).logits[0].double()
        steps = torch.log_softmax(logits, -1)[len(ids) - 1 : -1]
        sums.append(sum(steps[at, token].item() for at, token in enumerate(own)))
    by_byte = [total / len(choice.encode()) for total, choice in zip(sums, choices)]
    gold = choices.index(right)
    asked.append({"prompt": row["prompt"], "completion": right, "choices": choices})
    expected.append({"sums": sums, "acc": float(sums.index(max(sums)) == gold), "acc_norm": float(by_byte.index(max(by_byte)) == gold)})
(out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
(out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
mean = lambda key: sum(row[key] for row in expected) / len(expected)
gap = lambda values: sorted(values)[-1] - sorted(values)[-2]
print(f"acc {mean('acc')}, acc_norm {mean('acc_norm')}, smallest gap {min(gap(row['sums']) for row in expected):.4f}")
