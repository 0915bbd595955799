"""The programs that edgeagent is compared with: llama-server, llama-bench, and llama-cpp-python's own `grammar=`.

The first two are built from the llama.cpp sources inside the source distribution of the very llama-cpp-python that is
installed, once, in a folder outside the repository. All three get the same model file, threads and tokens as we do.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lines import LineProcess

CACHE = Path(os.environ.get("EDGEAGENT_BENCH_CACHE") or Path.home() / ".cache" / "edgeagent-bench")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF"
    " -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF"
).split()
START_SECONDS = 120.0
START = [sys.executable, str(Path(__file__).with_name("no_amx.py"))]
"""What a peer's command begins with."""


def sources() -> Path:
    """The unpacked source distribution; downloaded when it is not there."""
    release = version("llama_cpp_python")
    folder = CACHE / f"llama_cpp_python-{release}"
    if not (folder / "vendor" / "llama.cpp" / "CMakeLists.txt").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        print(f"downloading the sources of llama-cpp-python {release}", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
        subprocess.run([*pip, f"llama-cpp-python=={release}", "-d", str(CACHE)], check=True)
        archive = next(CACHE.glob(f"llama_cpp_python-{release}*.tar.gz"))
        with tarfile.open(archive) as tar:
            tar.extractall(CACHE)
    return folder


def built() -> Path:
    """The folder of llama-server and llama-bench; built when they are not there, which takes about ten minutes."""
    folder = sources() / "build"
    programs = folder / "bin"
    if not all((programs / name).exists() for name in ("llama-server", "llama-bench")):
        if shutil.which("cmake") is None:
            raise SystemExit("error: cmake is needed to build llama-server\ntry: sudo apt install cmake g++ make")
        print("building llama-server and llama-bench, which takes about ten minutes", file=sys.stderr)
        source = ["-S", str(sources() / "vendor" / "llama.cpp"), "-B", str(folder)]
        with (CACHE / "build.log").open("w") as log:
            subprocess.run(["cmake", *source, *OPTIONS], check=True, stdout=log, stderr=log)
            jobs = ["-j", str(os.cpu_count() or 1)]
            targets = ["--target", "llama-bench", "llama-server"]
            subprocess.run(["cmake", "--build", str(folder), *jobs, *targets], check=True, stdout=log, stderr=log)
    return programs


def llama_bench(programs: Path, model: Path, threads: int, prompt: int, written: int) -> tuple[float, float]:
    """Tokens a second: reading a prompt, and writing after one of that length; each after a warm-up of its own."""
    command = [*START, str(programs / "llama-bench"), "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json"]

    def rate(*sizes: str) -> float:
        done = subprocess.run([*command, *sizes], check=True, capture_output=True, text=True)
        return float(json.loads(done.stdout)[0]["avg_ts"])

    return rate("-p", str(prompt), "-n", "0"), rate("-p", "0", "-n", str(written), "-d", str(prompt))


@dataclass(frozen=True, slots=True)
class Answer:
    """`seconds` from sending to the end of the answer, as the caller sees it."""

    seconds: float
    text: str
    tokens: int
    read: int


class LlamaServer:
    """A running llama-server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process, self._port = process, port

    @property
    def process_id(self) -> int:
        return self._process.pid

    def complete(self, tokens: list[int], written: int, *, cached: bool, **options: Any) -> Answer:
        """Goes on from the tokens, greedily.

        Args:
            cached: whether what earlier prompts left may be used.
        """
        body = {
            "prompt": tokens,
            "n_predict": written,
            "temperature": 0,
            "cache_prompt": cached,
            "ignore_eos": True,
            **options,
        }
        began = time.perf_counter()
        read = self._post("/completion", body)
        seconds = time.perf_counter() - began
        return Answer(seconds, read["content"], read["tokens_predicted"], read["timings"]["prompt_n"])

    def complete_together(self, prompts: list[list[int]], written: int) -> float:
        """Seconds until all are done, sent at once."""
        began = time.perf_counter()
        with ThreadPoolExecutor(len(prompts)) as pool:
            answers = list(pool.map(lambda tokens: self.complete(tokens, written, cached=False), prompts))
        assert all(answer.tokens == written for answer in answers)
        return time.perf_counter() - began

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            read = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"llama-server answered {response.status}: {read}")
        return read

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


@contextmanager
def llama_server(programs: Path, model: Path, threads: int, context: int, *options: str) -> Iterator[LlamaServer]:
    """A llama-server with its defaults but for the model, threads, context and the options given."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*START, str(programs / "llama-server"), "-m", str(model), "-t", str(threads), "-c", str(context)]
    place = ["--host", "127.0.0.1", "--port", str(port)]
    with (CACHE / "llama-server.log").open("wb") as log:
        process = subprocess.Popen([*command, *place, *options], stdout=log, stderr=log, start_new_session=True)
    server = LlamaServer(process, port)
    try:
        until = time.monotonic() + START_SECONDS
        while not server.is_ready():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"llama-server did not start; see {CACHE / 'llama-server.log'}")
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class PythonPeer:
    """llama-cpp-python's `Llama` with `grammar=`, in a process of its own. Keeps the prompt it read last."""

    def __init__(self, model: Path, threads: int, context: int) -> None:
        self._process = LineProcess("python_peer.py", str(model), str(threads), str(context))

    def complete(self, tokens: list[int], written: int, grammar: str) -> Answer:
        read = self._process.ask({"tokens": tokens, "written": written, "grammar": grammar})
        return Answer(read["seconds"], read["text"], read["tokens"], 0)

    def close(self) -> None:
        self._process.close()
