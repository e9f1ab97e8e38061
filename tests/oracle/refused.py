"""Which of the installed transformers' text models are refused: each one's default config.json, given to lora-plan.

usage: refused.py target/release/lora-plan
Prints those that are opened, and those that are not, in lines as crates/README.md has them.
"""
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

warnings.filterwarnings("ignore")


def is_opened(model_type):
    """None if transformers has no default configuration of it."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            AutoConfig.for_model(model_type).save_pretrained(folder)
        except Exception:  # it needs arguments
            return None
        plan = [sys.argv[1], "params", "--model", str(Path(folder) / "config.json"), "--json"]
        return subprocess.run(plan, capture_output=True).returncode == 0


found = {name: is_opened(name) for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)}
for title, outcome in [("opened", True), ("refused", False), ("without a default configuration", None)]:
    names = [name for name, opened in found.items() if opened is outcome]
    print(f"{len(names)} {title}:")
    print(textwrap.fill(", ".join(names), 124, break_on_hyphens=False))
