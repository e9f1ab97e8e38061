"""Renders a grid of chats with every chat template of the installed trl package (and of folders given) in transformers,
and has crates/lora-data's example render-chats compare.

usage: templates.py [FOLDER or FILE.jinja]…   (transformers 5.23, jinja2 3.1.6, trl)
"""
import datetime, itertools, json, os, pathlib, subprocess, sys
import trl
from transformers.utils.chat_template_utils import render_jinja_template

top = pathlib.Path(__file__).parents[2]
files = sorted(pathlib.Path(trl.__file__).parent.rglob("*.jinja"))
for name in sys.argv[1:]:
    path = pathlib.Path(name)
    files += sorted(path.rglob("*.jinja")) if path.is_dir() else [path]

def turn(role, content, **more):
    return {"role": role, "content": content, **more}

def parts(messages):
    return [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in messages]

call = {"id": "call00001", "type": "function", "function": {"name": "book", "arguments": {"city": "Pôrto", "n": 2, "x": 1e-05, "ok": True, "none": None, "list": [1, 2.5, "a\"b"]}}}
tool = {"type": "function", "function": {"name": "book", "description": "Book a <table>", "parameters": {"type": "object", "properties": {
    "city": {"type": "string", "description": "Where"}, "n": {"type": "integer", "enum": [1, 2]}, "list": {"type": "array", "items": {"type": "number"}}}, "required": ["city"]}}}
plain = [turn("user", "Hi <there> & 'you'"), turn("assistant", "  Hello\n")]
chats = {
    "question": plain[:1],
    "answer": plain,
    "system": [turn("system", "Be \"brief\"."), *plain],
    "turns": [turn("system", "S"), *plain, turn("user", "more"), turn("assistant", "yes"), turn("user", "again")],
    "developer": [turn("developer", "D"), *plain],
    "empty": [turn("user", ""), turn("assistant", "")],
    "thinks": [turn("user", "q"), turn("assistant", "a", reasoning_content="because"), turn("user", "r"), turn("assistant", "b", reasoning_content="since")],
    "thinks inside": [turn("user", "q"), turn("assistant", "<think>\nbecause\n</think>\n\na"), turn("user", "r"), turn("assistant", "<think>s</think>b")],
    "calls": [turn("user", "q"), turn("assistant", "", tool_calls=[call]), turn("tool", "{\"done\": true}", name="book", tool_call_id="call00001"), turn("assistant", "Booked.")],
    "calls twice": [turn("system", "S"), turn("user", "q"), turn("assistant", "Well", tool_calls=[call, call]), turn("tool", "1", name="book", tool_call_id="call00001"), turn("tool", "2", name="book", tool_call_id="call00001")],
    "parts": parts(plain),
    "system parts": parts([turn("system", "S"), *plain]),
}
arguments = {"none": {}, "off": {"enable_thinking": False}, "on": {"enable_thinking": True}}
today = datetime.date.today().isoformat()
lines = []
for file, (name, messages), tools, (way, given), generate in itertools.product(files, chats.items(), (None, [tool]), arguments.items(), (False, True)):
    if way != "none" and "enable_thinking" not in file.read_text():
        continue
    case = {"name": f"{file.stem}/{name}/{'tools' if tools else '-'}/{way}/{generate}", "source": file.read_text(), "messages": messages,
            "tools": tools, "arguments": given, "generate": generate, "date": today}
    try:
        text = render_jinja_template([messages], tools=tools, chat_template=case["source"], add_generation_prompt=generate,
                                     bos_token="<s>", eos_token="</s>", **given)[0]
        case["expected"] = text if isinstance(text, str) else text[0]
    except Exception:
        case["expected"] = None
    lines.append(json.dumps(case))
command = ["cargo", "run", "--release", "--quiet", "-p", "lora-data", "--example", "render-chats"]
if os.environ.get("RENDER"):  # a render-chats that is built already
    command = [os.environ["RENDER"]]
sys.exit(subprocess.run(command, cwd=top, input="\n".join(lines) + "\n", text=True).returncode)
