"""lora-chat at a real terminal (a pty): Ctrl-C stops an answer and not the program; each command does what /help says.

    python tests/oracle/chat_terminal.py target/release/lora-chat BASE ADAPTER [ADAPTER …]

BASE should take a second or two for a long answer (SmolLM2-135M does).
"""
import os, pty, re, select, signal, sys, time

tool, base, *adapters = sys.argv[1:]
command = [tool, "--base", base, "--max-new-tokens", "300", "--repetition-penalty", "1.3"]
for adapter in adapters:
    command += ["--adapter", adapter]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(tool, command)
names = [os.path.basename(adapter.rstrip("/")) for adapter in adapters]
transcript = ""


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "")


def until(wanted, seconds=90):
    """Reads until a pattern has come; what has come since the last call."""
    global transcript
    text, end = "", time.time() + seconds
    while not re.search(wanted, plain(text)):
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.time()))
        if not ready:
            raise SystemExit(f"waited for {wanted!r} in vain; came:\n{plain(text)[-800:]}")
        text += os.read(terminal, 65536).decode(errors="replace")
    transcript += plain(text)
    return plain(text)


def say(line, wanted):
    os.write(terminal, line.encode() + b"\r")
    return until(wanted)


first = names[0]
until(rf"{first}> $")
# Ctrl-C during an answer: it stops, and the same program takes the next line.
say("Write a long story about a lighthouse keeper, with many chapters.", r"\w+ \w+ \w+ \w+ \w+ \w+ \w+ \w+ \w+ \w+")
start = time.time()
os.write(terminal, b"\x03")
until(rf"\(stopped\)\n*{first}> $")
print(f"Ctrl-C: the answer stopped after {time.time() - start:.2f} s, the prompt is back")
# Ctrl-C at the prompt throws the line away.
os.write(terminal, b"half a line\x03")
until(rf"{first}> $")
os.write(terminal, b"\r")
until(rf"{first}> $")
print("Ctrl-C at the prompt: the line is thrown away")
assert "adapters are" in say("/adapter", rf"{first}> $")
say("/base", r"base> $")
say("/both", rf"base\+{first}> $")
both = say("Say hi.", rf"(?s)\[base\].*\[{first}\].*base\+{first}> $")
print("/both: base and adapter answer one after the other")
say(f"/adapter {names[-1]}", rf"{names[-1]}> $")
assert "a new chat" in say("/system Answer in one word.", rf"{names[-1]}> $")
assert "a new chat" in say("/reset", rf"{names[-1]}> $")
assert "no command" in say("/nonsense", rf"{names[-1]}> $")
# Two stops in a row, then the program still answers.
for _ in range(2):
    say("Write a long story about the sea.", r"\w+ \w+ \w+ \w+ \w+ \w+ \w+")
    os.write(terminal, b"\x03")
    until(rf"\(stopped\)\n*{names[-1]}> $")
print("two more stops: still there")
os.write(terminal, b"\x04")
_, status = os.waitpid(pid, 0)
print("Ctrl-D: exit code", os.waitstatus_to_exitcode(status))
print("\n--- transcript\n" + transcript)
