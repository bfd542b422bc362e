"""Runs in the image of llama_server.Dockerfile: chats with llama.cpp's server, and what they took, as JSON on stdout.

The model lies at /model. Arguments: cores, temperature in thousandths, tokens an answer, and the questions.
"""

import json
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import URLError

PYTHON = "/opt/vcoin/venv/bin/python"
GGUF, ADDRESS = "/tmp/model.gguf", "http://127.0.0.1:8080"
STREAMS = 8
CONTEXT = 16_384
READY_WITHIN_S = 120


def call(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADDRESS + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def ask(question: str, milli: int, tokens: int) -> tuple[int, float]:
    """Tokens of the answer, and seconds."""
    began_s = time.monotonic()
    messages = [{"role": "user", "content": question}]
    # Nothing of a prompt is kept for the next one: ours keeps nothing, either.
    body = {"messages": messages, "temperature": milli / 1000, "max_tokens": tokens, "cache_prompt": False}
    found = call("/v1/chat/completions", body)
    return int(found["usage"]["completion_tokens"]), time.monotonic() - began_s


def main(cores: str, milli: int, tokens: int, questions: list[str]) -> None:
    convert = (PYTHON, "/opt/convert/convert_hf_to_gguf.py", "/model", "--outfile", GGUF, "--outtype", "bf16")
    subprocess.run(convert, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    options = ("-m", GGUF, "--threads", cores, "--threads-batch", cores, "--parallel", str(STREAMS))
    server = ("/opt/llama-server", *options, "--ctx-size", str(CONTEXT), "--port", "8080", "--no-webui")
    with subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        until_s = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                call("/health")
                break
            except (URLError, OSError):
                if time.monotonic() > until_s or running.poll() is not None:
                    raise
                time.sleep(0.2)
        ask(questions[0], milli, 4)
        alone = [ask(question, milli, tokens) for question in questions[:5]]
        began_s = time.monotonic()
        with ThreadPoolExecutor(STREAMS) as pool:
            beside = list(pool.map(lambda question: ask(question, milli, tokens), questions[:STREAMS]))
        took_s = time.monotonic() - began_s
        running.kill()
    rates = sorted(count / seconds for count, seconds in alone)
    print(json.dumps({"one": rates[len(rates) // 2], "eight": sum(count for count, _ in beside) / took_s}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
