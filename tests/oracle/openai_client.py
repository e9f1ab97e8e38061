"""What the openai Python package makes of `lora-chat --serve`: a transcript, a minute of 50 clients, 2,000 bad requests.

    pip install openai
    python tests/oracle/openai_client.py target/release/lora-chat BASE [ADAPTER] [--seconds 60] [--bad 2000]
"""
import argparse, asyncio, collections, json, random, socket, subprocess, time
import openai

parser = argparse.ArgumentParser()
parser.add_argument("tool")
parser.add_argument("base")
parser.add_argument("adapter", nargs="?")
parser.add_argument("--seconds", type=float, default=60)
parser.add_argument("--clients", type=int, default=50)
parser.add_argument("--bad", type=int, default=2000)
args = parser.parse_args()

command = [args.tool, "--base", args.base, "--serve", "127.0.0.1:0", "--max-new-tokens", "64"]
command += ["--adapter", args.adapter] if args.adapter else []
server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
url = server.stdout.readline().strip()
host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
ASK = [{"role": "user", "content": "Remind me to call Ann on friday"}]


def transcript():
    names = [model.id for model in client.models.list()]
    print("models.list:", names)
    for name in names:
        answer = client.chat.completions.create(model=name, messages=ASK, temperature=0)
        choice = answer.choices[0]
        print(f"{name}: {choice.message.content!r} ({choice.finish_reason}; {answer.usage.prompt_tokens} + {answer.usage.completion_tokens})")
    model = names[-1]
    whole = client.chat.completions.create(model=model, messages=ASK, temperature=0).choices[0].message.content
    stream = client.chat.completions.create(
        model=model, messages=ASK, temperature=0, stream=True, stream_options={"include_usage": True})
    pieces, usage = [], None
    for chunk in stream:
        usage = chunk.usage or usage
        pieces += [choice.delta.content or "" for choice in chunk.choices]
    assert "".join(pieces) == whole, (pieces, whole)
    print(f"stream: {len([p for p in pieces if p])} pieces, the same text; usage {usage.completion_tokens}")
    draw = lambda **more: [c.message.content for c in client.chat.completions.create(
        model=model, messages=ASK, temperature=1.5, max_completion_tokens=12, **more).choices]
    assert draw(seed=1, n=3) == draw(seed=1, n=3) and len(set(draw(seed=1, n=3))) > 1
    print("n=3 with a seed: the same three again")
    cut = client.chat.completions.create(model=model, messages=ASK, temperature=0, stop=[whole[3:6]]).choices[0]
    assert cut.message.content == whole[: whole.find(whole[3:6])] and cut.finish_reason == "stop"
    print("stop: cut before its text")
    for kind, more in [
        (openai.NotFoundError, {"model": "gpt-4"}),
        (openai.BadRequestError, {"logprobs": True}),
        (openai.BadRequestError, {"response_format": {"type": "json_object"}}),
        (openai.BadRequestError, {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:,"}}]}]}),
        (openai.BadRequestError, {"messages": [{"role": "user", "content": "word " * 5000}]}),
        (openai.BadRequestError, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
    ]:
        try:
            client.chat.completions.create(**{"model": model, "messages": ASK, **more})
            raise SystemExit(f"{more} was answered")
        except kind as error:
            print(f"{type(error).__name__} {error.status_code}: {error.body['message'][:110]}")
    with client.chat.completions.create(model=model, messages=ASK, temperature=2, stream=True, n=16) as stream:
        next(iter(stream))
    return model, whole


async def minute(model, whole):
    """Clients that ask one after the other; every third reads a stream."""
    talk = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=120)
    end, counts, times = time.time() + args.seconds, collections.Counter(), []

    async def one(number):
        while time.time() < end:
            start = time.time()
            try:
                if number % 3:
                    answer = await talk.chat.completions.create(model=model, messages=ASK, temperature=0)
                    text = answer.choices[0].message.content
                else:
                    stream = await talk.chat.completions.create(model=model, messages=ASK, temperature=0, stream=True)
                    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
                counts["right" if text == whole else "wrong"] += 1
                times.append(time.time() - start)
            except openai.APIError as error:
                counts[f"lost: {type(error).__name__}"] += 1

    await asyncio.gather(*[one(number) for number in range(args.clients)])
    times.sort()
    middle, late = times[len(times) // 2], times[int(len(times) * 0.99)]
    print(f"{args.clients} clients, {args.seconds:.0f} s: {dict(counts)}, median {middle * 1000:.0f} ms, 99 % {late * 1000:.0f} ms")
    assert set(counts) == {"right"}, counts


def bad():
    """Bytes that are no request, damaged requests, and requests that are refused."""
    chance = random.Random(7)
    good = json.dumps({"model": "base", "messages": ASK, "max_tokens": 4})
    counts = collections.Counter()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for number in range(args.bad):
        body = good.encode()
        kind = number % 5
        if kind == 0:
            body = bytes(chance.randrange(256) for _ in range(chance.randrange(400)))
        elif kind == 1:
            at = chance.randrange(len(body))
            body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
        elif kind == 2:
            body = body[: chance.randrange(len(body))]
        elif kind == 3:
            field = chance.choice(["temperature", "n", "stop", "messages", "seed", "max_tokens", "tools", "stream"])
            wrong = chance.choice([-1, 1e300, "x", [], {}, [[]], True, "\u202e" * 99])
            body = json.dumps({**json.loads(good), field: wrong}).encode()
        raw = (head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body
        if kind == 4:
            raw = bytes(chance.randrange(256) for _ in range(chance.randrange(2000)))
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            try:
                connection.sendall(raw)
                if kind == 4:  # no whole request: the server would wait for more
                    connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
            except ConnectionError:
                answer = b""
        counts[answer[9:12].decode() or "closed"] += 1
    print(f"{args.bad} bad requests: {dict(sorted(counts.items()))}")
    assert not any(status.startswith("5") for status in counts), counts


try:
    model, whole = transcript()
    asyncio.run(minute(model, whole))
    bad()
    import urllib.request
    print("health:", urllib.request.urlopen(url.removesuffix("/v1") + "/health").read().decode())
    memory = [line for line in open(f"/proc/{server.pid}/status") if line.startswith(("VmHWM", "VmRSS", "Threads"))]
    print("; ".join(" ".join(line.split()) for line in memory))
finally:
    server.send_signal(2)
    print("exit code after Ctrl-C:", server.wait(timeout=10))
