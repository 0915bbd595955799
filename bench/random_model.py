"""A GGUF with the shape and vocabulary of Qwen2.5-0.5B and random weights, quantised to Q4_K_M.

Speed does not depend on what the weights are, so nothing has to be downloaded. Made once, beside the built peers. The
vocabulary is a file of llama.cpp's sources.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peers import CACHE, sources

CONTEXT = 32_768
TEMPLATE = "Qwen-Qwen2.5-7B-Instruct.jinja"


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of a layer, rows first. Biases and norms have one dimension."""
        width, inner, keys = self.width, self.inner, self.width // self.heads * self.kv_heads
        return {
            "attn_norm.weight": (width,),
            "attn_q.weight": (width, width),
            "attn_q.bias": (width,),
            "attn_k.weight": (keys, width),
            "attn_k.bias": (keys,),
            "attn_v.weight": (keys, width),
            "attn_v.bias": (keys,),
            "attn_output.weight": (width, width),
            "ffn_norm.weight": (width,),
            "ffn_gate.weight": (inner, width),
            "ffn_up.weight": (inner, width),
            "ffn_down.weight": (width, inner),
        }


QWEN = Shape("qwen2.5-0.5b-random", 24, 896, 4864, 14, 2)
SMALL = Shape("qwen2.5-vocabulary-small-random", 2, 128, 256, 4, 2)
"""With the same vocabulary, for what needs many generations and no speed."""


def made(shape: Shape) -> Path:
    """The model file; made when it is not there, which takes a minute or two."""
    target = CACHE / f"{shape.name}.gguf"
    if target.exists():
        return target
    print(f"making {shape.name}", file=sys.stderr)
    full, part = CACHE / f"{shape.name}-f16.part", CACHE / f"{shape.name}.part"
    _write(full, shape)
    if shape is QWEN:
        _quantize(full, part)
        full.unlink()
        full = part
    full.rename(target)
    return target


def _write(path: Path, shape: Shape) -> None:
    import gguf
    import numpy

    models = sources() / "vendor" / "llama.cpp" / "models"
    vocabulary = gguf.GGUFReader(models / "ggml-vocab-qwen2.gguf")
    writer = gguf.GGUFWriter(path, "qwen2", use_temp_file=False)
    writer.add_name(shape.name)
    writer.add_block_count(shape.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tokens = _copy_vocabulary(vocabulary, writer)
    writer.add_chat_template((models / "templates" / TEMPLATE).read_text(encoding="utf-8"))
    source = numpy.random.default_rng(7)

    def add(name: str, sizes: tuple[int, ...]) -> None:
        if len(sizes) == 1:
            values = numpy.ones(sizes) if "norm" in name else source.normal(0, 0.02, sizes)
            writer.add_tensor(name, values.astype(numpy.float32))
        else:
            values = source.standard_normal(sizes, dtype=numpy.float32) * numpy.float32(0.02)
            writer.add_tensor(name, values.astype(numpy.float16))

    add("token_embd.weight", (tokens, shape.width))
    add("output_norm.weight", (shape.width,))
    for layer in range(shape.layers):
        for name, sizes in shape.tensors().items():
            add(f"blk.{layer}.{name}", sizes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_vocabulary(vocabulary: Any, writer: Any) -> int:
    """Every `tokenizer.` entry but the template, which is a newer one. Returns the number of tokens."""
    count = 0
    for name, field in vocabulary.fields.items():
        if not name.startswith("tokenizer.") or name == "tokenizer.chat_template":
            continue
        kind = field.types[0]
        if len(field.types) > 1:
            writer.add_key_value(name, field.contents(), kind, field.types[1])
        else:
            writer.add_key_value(name, field.contents(), kind)
        if name == "tokenizer.ggml.tokens":
            count = len(field.data)
    return count


def _quantize(source: Path, target: Path) -> None:
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M
    status = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), parameters)
    if status:
        raise RuntimeError(f"llama.cpp could not quantise the model (status {status})")


if __name__ == "__main__":
    print(made(QWEN), made(SMALL))
