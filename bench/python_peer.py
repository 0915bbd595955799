"""A process that completes prompts with llama-cpp-python as its documentation shows it. Started by bench/peers.py."""

from __future__ import annotations

import json
import os
import sys
import time

from no_amx import refuse


def main() -> None:
    refuse()
    model, threads, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    sink = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what llama.cpp prints is not for the pipe
    from llama_cpp import Llama, LlamaGrammar

    llama = Llama(model, n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False)
    for line in sys.stdin:
        asked = json.loads(line)
        grammar = LlamaGrammar.from_string(asked["grammar"], verbose=False)
        began = time.perf_counter()
        done = llama.create_completion(asked["tokens"], max_tokens=asked["written"], temperature=0, grammar=grammar)
        seconds = time.perf_counter() - began
        answer = {"seconds": seconds, "text": done["choices"][0]["text"], "tokens": done["usage"]["completion_tokens"]}
        sink.write(json.dumps(answer) + "\n")
        sink.flush()


if __name__ == "__main__":
    main()
