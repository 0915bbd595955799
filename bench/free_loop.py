"""A process that decodes greedily with our own access to llama.cpp and no constraint: what the constraint may cost is
measured against it. Started by bench/ours.py; one JSON object a line in and out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from edgeagent.model.confine import confine


def main() -> None:
    path, threads, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    sink = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what llama.cpp prints is not for the pipe
    confine(None)
    from edgeagent.model.llama import CHUNK, Context, ContextOptions, Part, Weights

    context = Context(Weights(path), ContextOptions(size, 4))
    context.set_threads(threads, threads)
    for line in sys.stdin:
        asked = json.loads(line)
        tokens, written = asked["tokens"], asked["written"]
        context.clear(0)
        for begin in range(0, len(tokens), CHUNK):
            part = tokens[begin : begin + CHUNK]
            context.decode([Part(0, begin, part, begin + CHUNK >= len(tokens))])
        row = len(tokens[(len(tokens) - 1) // CHUNK * CHUNK :]) - 1
        token = int(context.logits(row).argmax())
        began = time.perf_counter()
        for position in range(len(tokens), len(tokens) + written - 1):
            context.decode([Part(0, position, [token], True)])
            token = int(context.logits(0).argmax())
        sink.write(json.dumps({"rate": (written - 1) / (time.perf_counter() - began)}) + "\n")
        sink.flush()


if __name__ == "__main__":
    main()
