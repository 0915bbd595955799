"""Tiny GGUF models with random weights, for tests: any architecture below, with any chat template.

The vocabulary is that of the bundled model, and whatever special tokens a template needs are added to it. Weights are
from a seed, so a file is the same every time.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy

from edgeagent.bundled import bundled

POCKET = bundled("models") / "pocket"
TEMPLATE = (POCKET / "chat_template.jinja").read_text(encoding="utf-8")
WIDTH, HEADS, KV_HEADS, FEED_FORWARD, WINDOW = 64, 4, 2, 96, 64
Shapes = dict[str, tuple[int, ...]]


def _transformer(layer: str, head: int) -> Shapes:
    return {
        f"{layer}.attn_norm.weight": (WIDTH,),
        f"{layer}.attn_q.weight": (HEADS * head, WIDTH),
        f"{layer}.attn_k.weight": (KV_HEADS * head, WIDTH),
        f"{layer}.attn_v.weight": (KV_HEADS * head, WIDTH),
        f"{layer}.attn_output.weight": (WIDTH, HEADS * head),
        **_feed_forward(layer),
    }


def _feed_forward(layer: str) -> Shapes:
    return {
        f"{layer}.ffn_norm.weight": (WIDTH,),
        f"{layer}.ffn_gate.weight": (FEED_FORWARD, WIDTH),
        f"{layer}.ffn_up.weight": (FEED_FORWARD, WIDTH),
        f"{layer}.ffn_down.weight": (WIDTH, FEED_FORWARD),
    }


def _llama(layer: int) -> Shapes:
    return _transformer(f"blk.{layer}", 16)


def _qwen2(layer: int) -> Shapes:
    name = f"blk.{layer}"
    biases = {f"{name}.attn_q.bias": (WIDTH,), f"{name}.attn_k.bias": (32,), f"{name}.attn_v.bias": (32,)}
    return {**_transformer(name, 16), **biases}


def _qwen3(layer: int) -> Shapes:
    name = f"blk.{layer}"
    return {**_transformer(name, 16), f"{name}.attn_q_norm.weight": (16,), f"{name}.attn_k_norm.weight": (16,)}


def _gemma3(layer: int) -> Shapes:
    """Five of six layers see only the last `WINDOW` tokens."""
    name = f"blk.{layer}"
    norms = {f"{name}.{norm}.weight": (WIDTH,) for norm in ("post_attention_norm", "post_ffw_norm")}
    return {**_qwen3(layer), **norms}


def _lfm2(layer: int) -> Shapes:
    """Short convolutions, whose state cannot be taken back, and attention in every other layer."""
    name = f"blk.{layer}"
    if layer % 2:
        return _qwen3(layer)
    return {
        f"{name}.attn_norm.weight": (WIDTH,),
        f"{name}.shortconv.conv.weight": (WIDTH, 3),
        f"{name}.shortconv.in_proj.weight": (3 * WIDTH, WIDTH),
        f"{name}.shortconv.out_proj.weight": (WIDTH, WIDTH),
        **_feed_forward(name),
    }


def _mamba(layer: int) -> Shapes:
    """No attention at all: one state for the whole past."""
    name = f"blk.{layer}"
    inner, state, rank = 2 * WIDTH, 8, 4
    return {
        f"{name}.attn_norm.weight": (WIDTH,),
        f"{name}.ssm_in.weight": (2 * inner, WIDTH),
        f"{name}.ssm_conv1d.weight": (inner, 4),
        f"{name}.ssm_conv1d.bias": (inner,),
        f"{name}.ssm_x.weight": (rank + 2 * state, inner),
        f"{name}.ssm_dt.weight": (inner, rank),
        f"{name}.ssm_dt.bias": (inner,),
        f"{name}.ssm_a": (inner, state),
        f"{name}.ssm_d": (inner,),
        f"{name}.ssm_out.weight": (WIDTH, inner),
    }


_LAYERS = {"llama": _llama, "qwen2": _qwen2, "qwen3": _qwen3, "gemma3": _gemma3, "lfm2": _lfm2, "mamba": _mamba}
ARCHITECTURES = tuple(_LAYERS)
CANNOT_ROLL_BACK = ("gemma3", "lfm2", "mamba")


def make_model(
    path: Path,
    architecture: str = "llama",
    *,
    template: str | None = TEMPLATE,
    special: Iterable[str] = (),
    words: Iterable[str] = (),
    favourite: str = "",
    layers: int = 2,
    context: int = 8192,
    seed: int = 0,
    name: str = "tiny",
) -> Path:
    """Writes the model and gives its path.

    Args:
        template: the chat template; None: the file has none.
        special: texts that shall be single control tokens, beside those of the bundled model.
        words: texts that shall be single tokens of ordinary text.
        favourite: a token that is picked wherever it may stand; qwen2 alone can have one.
    """
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_layer_norm_rms_eps(1e-5)
    _add_architecture(writer, architecture, layers)
    tokens = _add_vocabulary(writer, special, words)
    size = len(tokens)
    if template is not None:
        writer.add_chat_template(template)
    source = numpy.random.default_rng(seed)
    shapes: Shapes = {"token_embd.weight": (size, WIDTH), "output.weight": (size, WIDTH)}
    shapes["token_embd_norm.weight" if architecture == "lfm2" else "output_norm.weight"] = (WIDTH,)
    for layer in range(layers):
        shapes |= _LAYERS[architecture](layer)
    for tensor, shape in shapes.items():
        writer.add_tensor(tensor, _weights(tensor, shape, source))
    if favourite:
        writer.add_tensor("output.bias", numpy.array([50.0 * (token == favourite) for token in tokens], numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_architecture(writer: gguf.GGUFWriter, architecture: str, layers: int) -> None:
    if architecture == "mamba":
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(2 * WIDTH)
        writer.add_ssm_state_size(8)
        writer.add_ssm_time_step_rank(4)
        writer.add_head_count(0)
        return
    writer.add_head_count(HEADS)
    writer.add_rope_freq_base(10000.0)
    if architecture == "lfm2":
        writer.add_head_count_kv([KV_HEADS if layer % 2 else 0 for layer in range(layers)])
        writer.add_shortconv_l_cache(3)
        return
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(16)
    writer.add_value_length(16)
    if architecture == "gemma3":
        writer.add_sliding_window(WINDOW)


def _weights(name: str, shape: tuple[int, ...], source: numpy.random.Generator) -> numpy.ndarray[Any, Any]:
    if "norm" in name:
        return numpy.ones(shape, numpy.float32)
    if name.endswith("ssm_a"):
        return -source.uniform(0.5, 4, shape).astype(numpy.float32)
    scale = 1.0 if name == "token_embd.weight" else 1.5 / numpy.sqrt(shape[-1])
    return (scale * source.standard_normal(shape)).astype(numpy.float32)


@cache
def _pocket_vocabulary() -> tuple[list[str], list[int], list[str]]:
    fields = gguf.GGUFReader(POCKET / "pocket.gguf").fields
    names = ("tokens", "token_type", "merges")
    tokens, kinds, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in names)
    return list(tokens), list(kinds), list(merges)


def _add_vocabulary(writer: gguf.GGUFWriter, special: Iterable[str], words: Iterable[str]) -> list[str]:
    tokens, kinds, merges = _pocket_vocabulary()
    new = dict.fromkeys(special, gguf.TokenType.CONTROL) | dict.fromkeys(words, gguf.TokenType.USER_DEFINED)
    for known in new.keys() & set(tokens):
        del new[known]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list([*tokens, *new])
    writer.add_token_types([*kinds, *map(int, new.values())])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    return [*tokens, *new]
