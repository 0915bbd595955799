"""Chat templates for tests: the public ones where they are at hand, and small ones that show one trait each."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edgeagent.model.syntax.derive import derive_syntax
from edgeagent.model.syntax.syntax import CallSyntax
from edgeagent.model.template import ChatTemplate

_BESIDE = Path(__file__).parents[2] / "shared/data/chat-templates"
PUBLIC = Path(os.environ.get("EDGEAGENT_CHAT_TEMPLATES", _BESIDE))
NAMES = sorted(path.stem for path in PUBLIC.glob("*.jinja")) if PUBLIC.is_dir() else []

needs_public = pytest.mark.skipif(
    not NAMES, reason="the public chat templates are not here: set EDGEAGENT_CHAT_TEMPLATES to their folder"
)


def public(name: str) -> str:
    return (PUBLIC / f"{name}.jinja").read_text(encoding="utf-8")


def chatml(call: str, *, before: str = "", tools: str = "{{ tools | tojson }}") -> str:
    """A template with the frame of ChatML that writes a call (`call`, of the message) as given."""
    return (
        f"{before}{{% if tools %}}<|im_start|>system\n{tools}<|im_end|>\n{{% endif %}}"
        "{% for message in messages %}<|im_start|>{{ message.role }}\n"
        "{% if message.tool_calls %}{% for call in message.tool_calls %}{% set call = call.function %}"
        f"{call}{{% endfor %}}{{% else %}}{{{{ message.content }}}}{{% endif %}}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def derived(source: str, special: tuple[str, ...] = (), ends: tuple[str, ...] = ()) -> CallSyntax:
    template = ChatTemplate(source, special, bos="<bos>", eos="<eos>")
    return derive_syntax(template, {text: 1000 + at for at, text in enumerate(special)}, ends)


def special_of(template: str) -> list[str]:
    """What a vocabulary for that template would have as tokens of their own."""
    bar = "|\uff5c"
    found = re.findall(rf'<[{bar}]?/?[\w:.\u2581{bar}]+[{bar}]?>|<\|"\|>|\[/?[A-Z_]+\]', template)
    return list(dict.fromkeys(text for text in found if len(text) > 4))
