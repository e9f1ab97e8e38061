"""Generation beside llama.cpp's server on the same GGUF file, threads and prompts: one request at a time, and 16 at once.

    python tests/oracle/generation_speed.py target/release/lora-chat MODEL.gguf [--threads 2] [--tokens 64] [--rounds 3]

Both are asked through their chat-completions interface, by turns in one run, so that a busy machine is busy for both; a
figure is the best round's tokens (of the answers) over its wall time, prompts included.
"""
import argparse, concurrent.futures, json, subprocess, time, urllib.request
import xllamacpp

parser = argparse.ArgumentParser()
parser.add_argument("tool")
parser.add_argument("model")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--tokens", type=int, default=64)
parser.add_argument("--rounds", type=int, default=3)
args = parser.parse_args()

command = [args.tool, "--base", args.model, "--serve", "127.0.0.1:0", "--threads", str(args.threads), "--device", "cpu"]
ours = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
url = ours.stdout.readline().strip()

params = xllamacpp.CommonParams()
params.model.path = args.model
params.n_ctx, params.n_parallel, params.warmup = 16 * 512, 16, True
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.threads
theirs = xllamacpp.Server(params)

THINGS = "lighthouse river clock orchard violin desert harbour kite library glacier market lantern bridge forest mirror train".split()


def request(thing):
    messages = [{"role": "user", "content": f"Write a long story about the {thing} at the end of the village."}]
    return {"model": "base", "messages": messages, "temperature": 0, "max_tokens": args.tokens, "cache_prompt": False}


def ask_ours(thing):
    body = {key: value for key, value in request(thing).items() if key != "cache_prompt"}
    call = urllib.request.Request(url + "/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(call))["usage"]["completion_tokens"]


def ask_theirs(thing):
    return theirs.handle_chat_completions(request(thing))["usage"]["completion_tokens"]


def rate(ask, things):
    start = time.time()
    with concurrent.futures.ThreadPoolExecutor(len(things)) as pool:
        tokens = sum(pool.map(ask, things))
    return tokens / (time.time() - start)


try:
    for count in (1, 16):
        best = {"lora-chat": 0.0, "llama.cpp": 0.0}
        for _ in range(args.rounds):
            for name, ask in (("lora-chat", ask_ours), ("llama.cpp", ask_theirs)):
                best[name] = max(best[name], rate(ask, THINGS[:count]))
        ratio = best["lora-chat"] / best["llama.cpp"]
        print(f"{count:2} at once: " + ", ".join(f"{name} {value:.1f} tokens/s" for name, value in best.items()) + f", {ratio:.2f} of it")
finally:
    ours.send_signal(2)
    ours.wait()
