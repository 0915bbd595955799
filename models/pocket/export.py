"""Writes a checkpoint as GGUF (architecture `qwen3`), with the tokenizer and the chat template inside.

python export.py --out build --gguf pocket.gguf [--type q8_0|f16]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy
import torch
from network import Shape
from tokenizer import CONTROL, END, STOP, load

HERE = Path(__file__).parent


def tensors(state: dict[str, torch.Tensor], shape: Shape) -> dict[str, numpy.ndarray]:
    """llama.cpp's tensor names and the weights, float32."""
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    named = {"token_embd.weight": state["embedding.weight"], "output_norm.weight": state["norm.weight"]}
    for layer in range(shape.layers):
        old, new = f"blocks.{layer}.", f"blk.{layer}."
        q, k, v = state[old + "qkv.weight"].split([queries, keys, keys])
        gate, up = state[old + "gate_up.weight"].chunk(2)
        named |= {
            new + "attn_norm.weight": state[old + "attention_norm.weight"],
            new + "attn_q.weight": q,
            new + "attn_k.weight": k,
            new + "attn_v.weight": v,
            new + "attn_q_norm.weight": state[old + "query_norm.weight"],
            new + "attn_k_norm.weight": state[old + "key_norm.weight"],
            new + "attn_output.weight": state[old + "out.weight"],
            new + "ffn_norm.weight": state[old + "feed_norm.weight"],
            new + "ffn_gate.weight": gate,
            new + "ffn_up.weight": up,
            new + "ffn_down.weight": state[old + "down.weight"],
        }
    return {name: weight.float().cpu().numpy() for name, weight in named.items()}


def weights_of(gguf_path: Path, shape: Shape) -> dict[str, torch.Tensor]:
    """The inverse of `tensors`: the state of a network from a model that `export` wrote."""
    found = {
        tensor.name: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        for tensor in gguf.GGUFReader(gguf_path).tensors
    }
    state = {"embedding.weight": found["token_embd.weight"], "norm.weight": found["output_norm.weight"]}
    for layer in range(shape.layers):
        new, old = f"blocks.{layer}.", f"blk.{layer}."
        state |= {
            new + "attention_norm.weight": found[old + "attn_norm.weight"],
            new + "qkv.weight": torch.cat([found[old + f"attn_{part}.weight"] for part in "qkv"]),
            new + "query_norm.weight": found[old + "attn_q_norm.weight"],
            new + "key_norm.weight": found[old + "attn_k_norm.weight"],
            new + "out.weight": found[old + "attn_output.weight"],
            new + "feed_norm.weight": found[old + "ffn_norm.weight"],
            new + "gate_up.weight": torch.cat([found[old + "ffn_gate.weight"], found[old + "ffn_up.weight"]]),
            new + "down.weight": found[old + "ffn_down.weight"],
        }
    return state


def write_tokenizer(writer: gguf.GGUFWriter, path: Path) -> None:
    tokenizer = load(path)
    model = json.loads(tokenizer.to_str())["model"]
    by_index = sorted(model["vocab"].items(), key=lambda item: item[1])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("starcoder")
    writer.add_token_list([text for text, _ in by_index])
    kinds = [
        gguf.TokenType.CONTROL if index < len(CONTROL) else gguf.TokenType.NORMAL for index in range(len(by_index))
    ]
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]])
    writer.add_eos_token_id(STOP)
    writer.add_eot_token_id(STOP)
    writer.add_pad_token_id(END)
    writer.add_add_bos_token(False)
    writer.add_chat_template((HERE / "chat_template.jinja").read_text(encoding="utf-8"))


def export(checkpoint: Path, tokenizer: Path, target: Path, kind: str) -> None:
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    shape = Shape(**saved["shape"])
    writer = gguf.GGUFWriter(str(target), "qwen3")
    writer.add_name("pocket")
    writer.add_description("Sorts and notes documents by instruction. Trained from scratch on synthetic episodes.")
    writer.add_license("Apache-2.0")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    quant = gguf.GGMLQuantizationType.Q8_0 if kind == "q8_0" else gguf.GGMLQuantizationType.F16
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if kind == "q8_0" else gguf.LlamaFileType.MOSTLY_F16)
    write_tokenizer(writer, tokenizer)
    for name, weight in tensors(saved["network"], shape).items():
        if weight.ndim == 1:
            writer.add_tensor(name, weight)
        else:
            writer.add_tensor(name, gguf.quants.quantize(weight, quant), raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--type", choices=["q8_0", "f16"], default="f16")
    arguments = parser.parse_args()
    export(arguments.out / "checkpoint.pt", arguments.out / "tokenizer.json", arguments.gguf, arguments.type)
    print(f"{arguments.gguf}: {arguments.gguf.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
