"""How fast a model behind a server is, as seen from here: what `edgeagent models bench` prints of one."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass

from edgeagent.model.endpoint.model import EndpointModel
from edgeagent.model.measure import bench_messages
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.schema import Json

_ANSWERS = 3


@dataclass(frozen=True, slots=True)
class MeasuredElsewhere:
    """Times in seconds, the network included; the rate in tokens a second. Tokens are what the server says, 0 where it
    says nothing. `first_token_cold` is the first answer, `first_token_warm` one with the same beginning."""

    name: str
    endpoint: str
    prompt_tokens: int
    cached_tokens: int
    decode_rate: float
    first_token_cold: float
    first_token_warm: float

    def as_json(self) -> Json:
        return asdict(self)


def measure_endpoint(model: EndpointModel, *, tokens: int, say: Callable[[str], None]) -> MeasuredElsewhere:
    """Raises ModelError where it does not answer."""
    say(f"asking {model.server.address} with a prompt of about {tokens} tokens")
    cold = _ask(model, tokens, 0)
    answers = [_ask(model, tokens, number) for number in range(1, _ANSWERS + 1)]
    rates = [
        (answer.output_tokens - 1) / (answer.seconds - answer.time_to_first_token)
        for answer in answers
        if answer.output_tokens > 1 and answer.seconds > answer.time_to_first_token
    ]
    return MeasuredElsewhere(
        name=model.name,
        endpoint=str(model.server.address),
        prompt_tokens=cold.input_tokens,
        cached_tokens=answers[-1].cached_tokens,
        decode_rate=statistics.median(rates) if rates else 0.0,
        first_token_cold=cold.time_to_first_token,
        first_token_warm=statistics.median(answer.time_to_first_token for answer in answers),
    )


def _ask(model: EndpointModel, tokens: int, event: int) -> ChatResult:
    request = ChatRequest(bench_messages(tokens, event), max_tokens=48, temperature=1.0, seed=event)
    return model.chat(request, threading.Event(), lambda text: None)
