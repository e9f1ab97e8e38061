"""Golden cases by the real transformers and PEFT: a tiny random model, an adapter whose B is not zero, and what they compute.

usage: make_golden.py OUT CASES.json [NAME ...]

A case of CASES.json: name, seed, model (arguments of the family's config class), lora (arguments of LoraConfig), and
optionally lens (lengths of the rows), std (of the matrices), stds (of those whose name holds a text), shifts (added
to vectors whose name holds a text), added_tokens (rows by which the vocabulary of the base is made larger, each the
mean of its own), mxfp4 (experts are stored in such blocks), added_rows ("random": those rows are not), base_dtype, max_shard_size, optim, merge (false where PEFT's merge is not the adapter:
it adds both sides of a tied pair to the one tensor), convert (false where PEFT can't bring PiSSA or OLoRA back to the
unchanged base: it loses DoRA's magnitudes). Written for each: base/, adapter/,
adapter_trained/, case.json and golden.safetensors, as tests/fixtures/golden/README.md describes them.
"""

import json
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
import transformers
from mxfp4 import pack
from safetensors.torch import save_file

OPTIM = {"lr": 1e-2, "weight_decay": 0.01, "steps": 8, "clip": 1.0}
PROMPT = 4  # positions at the start of a row that are not supervised


def random_base(case):
    """The model, with weights large enough that nothing in it is nearly linear."""
    config = transformers.AutoConfig.for_model(**case["model"])
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn_like(weight)
            if weight.dim() >= 2:
                own = [std for part, std in case.get("stds", {}).items() if part in name]
                weight.copy_(noise * (own[0] if own else case.get("std", 0.1)))
            else:
                own = [shift for part, shift in case.get("shifts", {}).items() if part in name]
                weight.add_(noise * 0.05 + sum(own))
        for name, buffer in model.named_buffers():
            if name.endswith("layer_scalar"):  # learned once, and kept as a buffer
                buffer.mul_(1 + 0.2 * torch.randn_like(buffer))
            if name.endswith("expert_bias"):  # what keeps experts balanced, kept as a buffer as well
                buffer.add_(0.1 * torch.randn_like(buffer))
    model.tie_weights()
    return model


def read(folder):
    """The saved model in f32. A model that was cast itself would keep its rotary frequencies rounded."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval()


def with_tokens(model, case):
    """The model with rows for so many tokens more, each the mean of its own rows (or, if the case says so, random)."""
    count = case.get("added_tokens", 0)
    if count:
        own = model.config.vocab_size
        model.resize_token_embeddings(own + count, mean_resizing=False)
        generator = torch.Generator().manual_seed(case["seed"] + 2)
        with torch.no_grad():
            sides = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
            for side in {id(side): side for side in sides}.values():
                side[own:] = side[:own].double().mean(0).float()
                if case.get("added_rows") == "random":
                    side[own:] += torch.randn(side[own:].shape, generator=generator) * 0.1
    return model


def tokens_of(case, vocabulary):
    """Tokens that must stand in the rows: those that were added, and those whose rows train."""
    named = case["lora"].get("trainable_token_indices", [])
    named = sum(named.values(), []) if isinstance(named, dict) else named
    return sorted({*named, *range(vocabulary - case.get("added_tokens", 0), vocabulary)})


def random_rows(case, vocabulary):
    """Right-padded ids, mask and labels, (B, T) each."""
    generator = torch.Generator().manual_seed(case["seed"] + 1)
    lens = case.get("lens", [12, 9, 16])
    shape = (len(lens), max(lens))
    ids = torch.randint(3, vocabulary, shape, generator=generator)
    mask = (torch.arange(shape[1]) < torch.tensor(lens)[:, None]).long()
    labels = ids.masked_fill(mask == 0, -100)
    for i, token in enumerate(tokens_of(case, vocabulary)):  # in the prompt, and among what is learned
        ids[0, i], ids[0, PROMPT + i], labels[0, PROMPT + i] = token, token, token
    labels[:, :PROMPT] = -100
    return ids * mask, mask, labels


def plain(name):
    """A parameter's name as PEFT writes it into a file."""
    return name.replace(".default", "").replace(".modules_to_save", "")


def leave_the_beginning(model, case):
    """What is zero or neutral in a new adapter gets values."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and ("lora_B" in name or "lora_embedding_A" in name):
                weight.copy_(torch.randn_like(weight) * 0.05)
            is_saved = "modules_to_save" in name and case.get("added_tokens", 0)
            if weight.requires_grad and ("trainable_tokens_delta" in name or is_saved):
                weight.add_(torch.randn_like(weight) * 0.05)
            if "lora_magnitude_vector" in name:
                weight.mul_(1 + 0.05 * torch.randn_like(weight))


def save_initial(model):
    """Where the adapter began, as PEFT wants to find it."""
    folder, config = tempfile.mkdtemp(), model.peft_config["default"]
    beginning, config.init_lora_weights = config.init_lora_weights, True
    model.save_pretrained(folder)
    config.init_lora_weights = beginning
    return folder


def save(model, folder, initial=None):
    """With the beginning of PiSSA or OLoRA: as the plain LoRA against the unchanged base that it amounts to."""
    more = {"path_initial_model_for_weight_conversion": initial} if initial else {}
    model.save_pretrained(folder, save_embedding_layers="auto", **more)
    (folder / "README.md").unlink(missing_ok=True)


def trained_tensors(model, prefix, pick):
    return {prefix + plain(n): pick(p).detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def train(model, batch, optim):
    """AdamW on the same batch; losses and gradient norms of every step."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    adamw = torch.optim.AdamW(parameters, lr=optim["lr"], weight_decay=optim["weight_decay"])
    losses, norms = [], []
    for _ in range(optim["steps"]):
        loss = model(**batch).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, optim["clip"]).item())
        adamw.step()
        adamw.zero_grad()
        losses.append(loss.item())
    return losses, norms


def make(case, out):
    folder = Path(out) / case["name"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(case["seed"])
    base = random_base(case)
    if case.get("base_dtype") == "bfloat16":
        base = base.to(torch.bfloat16)
    base.save_pretrained(folder / "base", max_shard_size=case.get("max_shard_size", "5GB"))
    if case.get("mxfp4"):
        pack(folder / "base")
    base = with_tokens(read(folder / "base"), case)

    ids, mask, labels = random_rows(case, base.config.vocab_size)
    inputs = {"input_ids": ids, "attention_mask": mask}
    batch = {**inputs, "labels": labels}
    golden = dict(batch)
    if case.get("mxfp4"):  # as transformers dequantises them, (E, in, out)
        first = base.model.layers[0].mlp.experts
        golden.update(dequantised_gate_up=first.gate_up_proj.data.clone(), dequantised_down=first.down_proj.data.clone())

    def logits(model):
        with torch.no_grad():
            return model.eval()(**inputs).logits.clone()

    golden["logits_base"] = logits(base)
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **case["lora"]))
    decomposed = case["lora"].get("init_lora_weights") in ("pissa", "olora")
    if not decomposed:  # else A and B are a part of the base, and the adapter is as PEFT begins it
        leave_the_beginning(model, case)
    save(model, folder / "adapter")
    initial = save_initial(model) if decomposed and case.get("convert", True) else None
    trainable, parameters = model.get_nb_trainable_parameters()
    golden["logits_adapter"] = logits(model)
    output = model.train()(**batch)
    loss = output.loss
    loss.backward()
    golden.update(trained_tensors(model, "grad.", lambda p: p.grad))
    model.zero_grad()

    optim = case.get("optim", OPTIM)
    losses, norms = train(model, batch, optim)
    golden.update(trained_tensors(model, "trained.", lambda p: p))
    golden["logits_trained"] = logits(model)
    save(model, folder / "adapter_trained", initial)

    again = with_tokens(read(folder / "base"), case)
    merged = peft.PeftModel.from_pretrained(again, folder / "adapter").merge_and_unload()
    if case.get("merge", True):
        golden["logits_merged"] = logits(merged)
    if case.get("merged_weights"):
        for name, weight in merged.state_dict().items():
            if any(part in name for part in ("proj", "embed_tokens", "lm_head")):
                golden["merged." + name] = weight.clone()

    save_file({name: tensor.contiguous() for name, tensor in golden.items()}, folder / "golden.safetensors")
    if base.config.to_dict().get("output_router_logits"):  # the loss holds it times router_aux_loss_coef
        case = {**case, "aux_loss": output.aux_loss.item()}
    versions = {"torch": torch.__version__, "peft": peft.__version__, "transformers": transformers.__version__}
    record = {
        **case, "trainable_params": trainable, "all_params": parameters, "loss": loss.item(), "losses": losses,
        "grad_norms": norms, "optim": optim, "versions": versions,
    }  # fmt: skip
    (folder / "case.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"{case['name']}: loss {losses[0]:.5f} -> {losses[-1]:.5f}, {trainable} of {parameters} trained")


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out, cases, *names = sys.argv[1:]
    for case in json.loads(Path(cases).read_text()):
        if not names or case["name"] in names:
            make(case, out)


if __name__ == "__main__":
    main()
