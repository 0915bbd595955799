"""Trains `pocket`. `python train.py --tokens 40e6 --out build` writes checkpoints that the same command resumes.

Hidden matrices are trained by Muon, everything else by AdamW. The learning rate warms up, holds, and decays to zero
over the last `--decay` of the tokens; a model that is gone on from (`--start`) can copy and read already. On a CPU the arithmetic is bfloat16; on a GPU it is too, and batches grow.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import torch
from content import Library
from corpus import READING_TOKENS, Stream, composer, kind_numbers, rendered, template
from export import weights_of
from network import Block, Network, Reader, Shape
from tokenizer import of_model
from tokenizer import train as train_tokenizer
from torch import Tensor

READING_WEIGHT = 0.5


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """The nearest matrix with orthogonal rows or columns, by Newton-Schulz rounds (Muon; Jordan et al. 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    def __init__(self, weights: list[Tensor], rate: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(weights, {"lr": rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["speed"] = torch.zeros_like(weight)
                speed = state["speed"].lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(speed, group["momentum"]))
                scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-group["lr"] * scale)


def rate_at(done: float, total: float, warm: float, decay: float) -> float:
    """The learning rate's factor after `done` of `total` tokens."""
    if done < warm:
        return (done + 1) / (warm + 1)
    left = (total - done) / (decay * total)
    return max(0.0, min(1.0, left))


def make_tokenizer(path: Path) -> None:
    make, chat = composer("tokenizer", None), template()
    texts = [rendered(make.episode(), chat) for _ in range(24000)]
    train_tokenizer(texts).save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--tokens", type=float, default=40e6, help="tokens to see in all")
    parser.add_argument("--batch", type=int, default=8192, help="tokens a step")
    parser.add_argument("--longest", type=int, default=900, help="longer episodes are left out")
    parser.add_argument("--rate", type=float, default=0.02, help="Muon's learning rate; AdamW's is a tenth of it")
    parser.add_argument("--decay", type=float, default=0.5, help="part of the tokens over which the rate decays")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", default="pocket")
    parser.add_argument("--threads", type=int, default=0, help="threads on a CPU; 0: all cores")
    parser.add_argument("--start", type=Path, help="a GGUF of this recipe to go on from, instead of from nothing")
    parser.add_argument("--hours", type=float, default=1e9, help="stop (with a checkpoint) after so long")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer_path = arguments.out / "tokenizer.json"
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if not tokenizer_path.exists() and arguments.start:
        of_model(arguments.start).save(str(tokenizer_path))
    if not tokenizer_path.exists():
        make_tokenizer(tokenizer_path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    shape = Shape()
    Block.dropout = arguments.dropout
    Block.forward = torch.compile(Block.forward, dynamic=True)  # fuses the pointwise work: a quarter faster on a CPU
    network = Network(shape).to(device)
    reader = Reader(shape, len(kind_numbers(Library()))).to(device)
    hidden = [weight for name, weight in network.named_parameters() if weight.ndim == 2 and "embedding" not in name]
    others = [weight for name, weight in network.named_parameters() if weight.ndim != 2 or "embedding" in name]
    others += list(reader.parameters())
    muon = Muon(hidden, arguments.rate)
    adam = torch.optim.AdamW(others, arguments.rate / 10, betas=(0.9, 0.95), weight_decay=0.0)
    if arguments.start:
        network.load_state_dict(weights_of(arguments.start, shape))
    seen, step = 0, 0
    checkpoint = arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        reader.load_state_dict(saved["reader"])
        muon.load_state_dict(saved["muon"])
        adam.load_state_dict(saved["adam"])
        seen, step = saved["seen"], saved["step"]
    print(f"{sum(w.numel() for w in network.parameters()):,} parameters on {device}, from {seen:,} tokens", flush=True)

    def save() -> None:
        state = {
            "network": network.state_dict(),
            "reader": reader.state_dict(),
            "muon": muon.state_dict(),
            "adam": adam.state_dict(),
        }
        fresh = checkpoint.with_suffix(".new")
        torch.save({**state, "seen": seen, "step": step, "shape": asdict(shape)}, fresh)
        fresh.replace(checkpoint)

    began = last = time.monotonic()
    since, total, read, count = 0, 0.0, 0.0, 0
    log = (arguments.out / "curve.jsonl").open("a")
    source = Stream(f"{arguments.seed}/{step}", tokenizer_path, arguments.batch, arguments.longest)
    for batch in source:
        source.seen.value = seen + (READING_TOKENS if arguments.start else 0)
        factor = rate_at(seen, arguments.tokens, 300_000, arguments.decay)
        for optimizer, base in ((muon, arguments.rate), (adam, arguments.rate / 10)):
            for group in optimizer.param_groups:
                group["lr"] = base * factor
        with torch.autocast(device, dtype=torch.bfloat16):
            loss, reading = network.loss(*(torch.from_numpy(part).to(device) for part in batch), reader)
        (loss + READING_WEIGHT * reading).backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        muon.step()
        adam.step()
        network.zero_grad(set_to_none=True)
        reader.zero_grad(set_to_none=True)
        seen += batch[0].size
        step += 1
        since += batch[0].size
        total += loss.item()
        read += reading.item()
        count += 1
        if not math.isfinite(total):
            raise SystemExit("the loss is not finite; the last checkpoint stands")
        if step % 25 == 0:
            now = time.monotonic()
            row = {
                "seen": seen,
                "loss": round(total / count, 4),
                "reading": round(read / count, 4),
                "rate": round(factor, 4),
                "tokens_per_second": round(since / (now - last)),
            }
            print(json.dumps(row), flush=True)
            log.write(json.dumps(row) + "\n")
            log.flush()
            last, since, total, read, count = now, 0, 0.0, 0.0, 0
        ended = seen >= arguments.tokens or time.monotonic() - began > arguments.hours * 3600
        if step % 100 == 0 or ended:
            save()
        if ended:
            break


if __name__ == "__main__":
    main()
