"""Do Hugging Face's tokenizers, our GGUF in llama.cpp and the folder that we make of it give the same ids, whatever the
pre-tokenizer?

usage: pretokenizers.py LORA_EXPORT
For each pre-tokenizer, as published tokenizer.json files have it: a vocabulary whose merges were learned across all its
borders (so that another split gives other ids), in a tiny model, through `lora-export`; texts that tell the splits apart.
"""
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import gguf
import torch
import transformers
import xllamacpp
from common import say
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASED = [r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"]  # fmt: skip
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SLASHED = REST.replace(r"[\r\n]*|", r"[\r\n/]*|", 1)
DEEPSEEK = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^""" + "\r\n" + r"""\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+["""
            + "\r\n]*|" + r"\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+"]  # fmt: skip
SEED = WORDS + "{1}" + r"| ?[^\s\p{L}\p{N}" + "\r\n" + r"]+|\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def splits(*regexes, removed=False):
    how = {"behavior": "Removed", "invert": True} if removed else {"behavior": "Isolated", "invert": False}
    parts = [{"type": "Split", "pattern": {"Regex": regex}, **how} for regex in regexes]
    return {"type": "Sequence", "pretokenizers": [*parts, {**BYTES, "use_regex": False}]}


# Name: structure, ignore_merges, whether a regex of llama.cpp's that is not Hugging Face's may tell texts with marks apart.
PUBLISHED = {
    "SmolLM2": ({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTES]}, False),
    "GPT-2, EXAONE 4": (BYTES, False),
    "Llama 3": (splits(WORDS + "{1,3}" + REST), True),
    "SmolLM3, GLM-4": (splits(WORDS + "{1,3}" + REST), False),
    "Phi-4, OLMo 2 and 3": (splits(WORDS + "{1,3}" + REST, removed=True), False),
    "Qwen 2": (splits(WORDS + REST), False),
    "Qwen 3.5": (splits((WORDS + REST).replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"\s\p{L}\p{N}", r"\s\p{L}\p{M}\p{N}")), False),
    "Mistral (Tekken)": (splits("|".join(CASED) + r"|\p{N}" + SLASHED), True),
    "Phi-4-mini (o200k)": (splits("|".join(c + SUFFIX for c in CASED) + r"|\p{N}{1,3}" + SLASHED, removed=True), False),
    "Seed": (splits(SEED), False),
    "Hunyuan, DeepSeek V3": (splits(*DEEPSEEK), False),
}  # fmt: skip
TEXTS = [
    "Don't SHOUT, we'll see; they'RE here. I'd've gone!",
    "In 1234567 steps: 3.14159, 10000 and 7.\n\n  indented\r\nline   end  \n\t\ttabs",
    "HelloWorld camelCase HTTPServer iPhone XMLHttpRequest aB Ab ABc",
    "path/to/file.rs:42 // comment\n/* x */ a+=b; c->d(); #!/bin/sh\n/\n//",
    "Grüße aus Köln, naïve café, Ελληνικά και Ελλάδα, Привет МИР, Ünïcödé",
    "你好世界，今天是2024年。こんにちは、カタカナとひらがな。한국어 문장 123개",
    "   leading and trailing   ", "...!!!???  --- *** \"quoted\" (brackets) [x] {y} <z>", "emoji 😂😂 and ok\n",
]  # fmt: skip


def vocabulary():
    """A byte-level vocabulary whose merges know no borders."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"])
    pieces = [text[i : i + n] for text in TEXTS for n in (2, 3, 4, 6, 9) for i in range(len(text) - n + 1)]
    tokenizer.train_from_iterator(pieces, trainer)
    return json.loads(tokenizer.to_str())


def model(folder, tokenizer):
    config = transformers.LlamaConfig(vocab_size=len(tokenizer["model"]["vocab"]), hidden_size=64, intermediate_size=64,
                                      num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=512)  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False}))


def of_llama_cpp(path):
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.warmup = str(path), 512, False
    server = xllamacpp.Server(params)
    for text in TEXTS:
        body = json.dumps({"content": text, "add_special": False, "parse_special": False}).encode()
        request = urllib.request.Request(f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"})
        yield json.load(urllib.request.urlopen(request))["tokens"]


def main():
    export = sys.argv[1]
    base = vocabulary()
    for name, (structure, ignore) in PUBLISHED.items():
        with tempfile.TemporaryDirectory() as work:
            source, file, back = Path(work, "m"), Path(work, "m.gguf"), Path(work, "back")
            tokenizer = {**base, "pre_tokenizer": structure, "model": {**base["model"], "ignore_merges": ignore}}
            model(source, tokenizer)
            for one in (["--model", source, "--format", "gguf", "--out", file], ["--model", file, "--format", "hf", "--out", back]):
                subprocess.run([export, *map(str, one), "--dtype", "f32", "--quiet"], check=True, stdout=subprocess.DEVNULL)
            known = gguf.GGUFReader(file).fields["tokenizer.ggml.pre"]
            pre = bytes(known.parts[known.data[0]]).decode()
            expected, ours = ([Tokenizer.from_file(str(f / "tokenizer.json")).encode(t, add_special_tokens=False).ids for t in TEXTS]
                              for f in (source, back))  # fmt: skip
            same = sum(a == b for a, b in zip(expected, ours))
            say(f"{name}: our folder back from GGUF", f"{len(TEXTS)} texts", f"{same} equal", len(TEXTS) - same, same == len(TEXTS))
            equal = [a == b for a, b in zip(expected, of_llama_cpp(file))]
            first = next((f"first: {t!r}" for t, e in zip(TEXTS, equal) if not e), "")
            say(f"{name}: llama.cpp ({pre})", f"{len(TEXTS)} texts", f"{sum(equal)} equal", len(TEXTS) - sum(equal), all(equal), first)


main()
