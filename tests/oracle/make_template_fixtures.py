"""Renders the chats of crates/lora-data/tests/fixtures/templates with transformers: writes expected.json there.

usage: make_template_fixtures.py   (transformers 5.23, jinja2 3.1.6)
"""
import json, pathlib
from transformers.utils.chat_template_utils import render_jinja_template

folder = pathlib.Path(__file__).parents[2] / "crates/lora-data/tests/fixtures/templates"
chats = json.loads((folder / "chats.json").read_text())
expected = {}
for file in sorted(folder.glob("*.jinja")):
    for number, chat in enumerate(chats):
        for generate in (False, True):
            try:
                text = render_jinja_template([chat["messages"]], tools=chat.get("tools"), chat_template=file.read_text(),
                                             add_generation_prompt=generate, bos_token="<s>", eos_token="</s>")[0]
                text = text if isinstance(text, str) else text[0]
            except Exception as error:
                text = {"error": type(error).__name__, "message": str(error)}
            expected[f"{file.stem}/{number}/{generate}"] = text
(folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
print(len(expected), "renderings")
