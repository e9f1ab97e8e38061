"""What is learned of the same rows by TRL's SFTTrainer and by lora-prep: ids and labels of each row of six layouts.

usage: masks.py BASE [FIXTURE.json]     (trl 1.16, transformers 5.23, pyarrow; LORA_PREP names the tool)
BASE is a folder with a tokenizer (SmolLM2's, data/tiny-chat); FIXTURE.json gets the rows and TRL's masks.

TRL keeps what a template writes behind the last end token (a newline), lora-prep ends there: no generation reaches it.
Rows are compared up to there, and such rows are counted. Where a token would span the border of prompt and completion
("a", "b"), TRL 1.16 learns that token and drops the end of the prompt, with a warning that a generation starts from
another context; lora-prep tokenises both apart, as a generation does, and counts such rows: they aren't compared here.
"""
import json, os, pathlib, subprocess, sys, tempfile
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import datasets, pyarrow.parquet as pq, torch, trl
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

datasets.disable_progress_bars()
top = pathlib.Path(__file__).parents[2]
prep = os.environ.get("LORA_PREP", str(top / "target/release/lora-prep"))
templates = pathlib.Path(trl.__file__).parent / "chat_templates"
base = pathlib.Path(sys.argv[1])
MARKED = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}{{ message['content'] + '<|im_end|>' + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
PLAIN = MARKED.replace("{% generation %}", "").replace("{% endgeneration %}", "")

def turn(role, content, **more):
    return {"role": role, "content": content, **more}

question, answer = turn("user", "Where is the river?"), turn("assistant", "Behind the hill, two miles on.")
more = [turn("user", "And the   bridge\n"), turn("assistant", "It fell. 1999, I think…"), turn("user", "ok"), turn("assistant", "Yes")]
system = turn("system", "Be brief.")
call = {"type": "function", "function": {"name": "find", "arguments": {"what": "a \"bridge\"", "n": 2}}}
tools = [{"type": "function", "function": {"name": "find", "description": "Finds a thing", "parameters": {"type": "object", "properties": {"what": {"type": "string"}, "n": {"type": "integer"}}, "required": ["what"]}}}]
called = [question, turn("assistant", "", tool_calls=[call]), turn("tool", "{\"at\": 3}"), turn("assistant", "At mile 3.")]
layouts = {  # rows, template (None: rows are joined), TRL's settings, lora-prep's flags
    "prompt and completion": ([{"prompt": "2 + 2 =", "completion": " 4"}, {"prompt": "Name a colour.\n", "completion": "Red, or blue"}], None, {"completion_only_loss": True}, []),
    "chats as prompt and completion": ([{"prompt": [question], "completion": [answer]}, {"prompt": [system, question, answer, more[0]], "completion": [more[1]]}], PLAIN, {"completion_only_loss": True}, []),
    "all answers of chats": ([{"messages": [question, answer, *more]}, {"messages": [question, answer]}], MARKED, {"assistant_only_loss": True}, ["--learn", "all"]),
    "calls of tools": ([{"messages": called, "tools": tools}, {"messages": [system, *called, *more], "tools": tools}], (templates / "qwen2_5_training.jinja").read_text(), {"assistant_only_loss": True}, ["--learn", "all"]),
    "system and turns, marked by the template": ([{"messages": [system, question, answer, *more]}, {"messages": [turn("system", "Ünïcode 🎉"), question, answer]}], (templates / "qwen3_training.jinja").read_text(), {"assistant_only_loss": True}, ["--learn", "all"]),
    "text": ([{"text": "Once upon a time there was a river."}, {"text": "The end"}], None, {}, []),
}

def tokenizer():
    return AutoTokenizer.from_pretrained(base)

size = len(tokenizer())
model = LlamaForCausalLM(LlamaConfig(vocab_size=size, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1))

def of_trl(rows, template, settings):
    processing = tokenizer()
    processing.chat_template = template
    if processing.pad_token is None:
        processing.pad_token = processing.eos_token
    with tempfile.TemporaryDirectory() as out:
        config = trl.SFTConfig(output_dir=out, max_length=None, report_to="none", use_cpu=True, bf16=False, **settings)
        trainer = trl.SFTTrainer(model=model, args=config, train_dataset=datasets.Dataset.from_list(rows), processing_class=processing)
        made = []
        for row in trainer.train_dataset:
            batch = trainer.data_collator([row])
            made.append((batch["input_ids"][0].tolist(), batch["labels"][0].tolist()))
        return made

def of_prep(rows, template, flags):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        way = ["--no-chat-template"]
        if template is not None:
            (folder / "template.jinja").write_text(template)
            way = ["--template", folder / "template.jinja"]
        done = subprocess.run([prep, folder / "rows.jsonl", "--base", base, "--out", folder / "out", "--valid", "0", *way, *flags], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return [(row["input_ids"], row["labels"]) for row in pq.read_table(folder / "out/train.parquet").to_pylist()]

def cut(ids, labels, length, processing):
    """The row up to its last end token, if only white space follows."""
    rest = ids[length:]
    return (ids[:length], labels[:length], 1) if rest and processing.decode(rest).strip() == "" else (ids, labels, 0)

processing, fixture, wrong = tokenizer(), [], 0
for name, (rows, template, settings, flags) in layouts.items():
    theirs, ours, cuts, differ = of_trl(rows, template, settings), of_prep(rows, template, flags), 0, 0
    assert len(theirs) == len(ours) == len(rows), (name, len(theirs), len(ours))
    expected = []
    for number, ((ids, labels), (own_ids, own_labels)) in enumerate(zip(theirs, ours)):
        ids, labels, is_cut = cut(ids, labels, len(own_ids), processing)
        cuts += is_cut
        expected.append({"ids": ids, "learned": [at for at, label in enumerate(labels) if label != -100]})
        if (ids, labels) != (own_ids, own_labels):
            differ += 1
            mark = lambda ids, labels: [processing.decode([i]) if l == -100 else "[" + processing.decode([i]) + "]" for i, l in zip(ids, labels)]
            print(f"{name}, row {number + 1}:\n  TRL  {mark(ids, labels)}\n  ours {mark(own_ids, own_labels)}")
    wrong += differ
    print(f"{name}: {len(rows) - differ} of {len(rows)} rows equal" + (f", {cuts} without the white space behind their end" if cuts else ""))
    fixture.append({"name": name, "rows": rows, "template": template, "flags": flags, "expected": expected})
if len(sys.argv) > 2:
    pathlib.Path(sys.argv[2]).write_text(json.dumps(fixture, ensure_ascii=False) + "\n")
sys.exit(1 if wrong else 0)
