"""http_request: one request to a granted host.

GET and HEAD only read. Everything else may have an effect that nobody can look up after a crash, so it is not repeated
then; it carries the call's key as `Idempotency-Key` for servers that know what to do with it. Redirects are followed to
granted hosts only. `{{ secrets.NAME }}` stands for a secret, in headers, in the body and after the host in the url.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import quote, urljoin

from pydantic import Field

from edgeagent.errors import ToolError
from edgeagent.schema import Json, ToolSpec
from edgeagent.tools.base import Arguments, Plan, ToolContext, counted, cut, parse_arguments, shown
from edgeagent.tools.fetching import MAX_BYTES, Answer, Target, exchange, parse_url
from edgeagent.tools.specs import BUILTIN_SPECS, HTTP_METHODS
from edgeagent.tools.writing import to_bytes

SECONDS = 30.0
REDIRECTS = 5
_READING = frozenset({"GET", "HEAD"})
_SECRET = re.compile(r"\{\{\s*secrets\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e]{0,8000}", re.ASCII)
_OURS = frozenset(
    "host connection content-length transfer-encoding accept-encoding te trailer upgrade expect idempotency-key".split()
)
"""Headers that are no matter of the caller's, besides those for proxies."""
_FOR_ONE_HOST = frozenset({"authorization", "cookie"})
_MOVED, _SEE_OTHER, _SAME = {301, 302}, 303, {307, 308}
_TEXT = re.compile(r"text/|application/(json|xml|javascript|x-www-form-urlencoded|.*\+(json|xml))|$", re.ASCII)


class RequestArguments(Arguments):
    url: str
    method: str = "GET"
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None


class HttpRequest:
    spec = BUILTIN_SPECS["http_request"]

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds

    def spec_of(self, arguments: Json) -> ToolSpec:
        """To fetch something is not to change something."""
        reads = isinstance(arguments, dict) and arguments.get("method", "GET") in _READING
        return replace(self.spec, read_only=reads, idempotent=reads)

    def plan(self, arguments: Json, context: ToolContext) -> Plan:
        asked = parse_arguments(RequestArguments, arguments)
        if asked.method not in HTTP_METHODS:
            raise ToolError(f"method must be one of {', '.join(HTTP_METHODS)}")
        if asked.body and asked.method in _READING:
            raise ToolError(f"{asked.method} takes no body")
        _check_headers(asked.headers)
        target = parse_url(_SECRET.sub("secret", asked.url))
        used = _SECRET.findall("\n".join((asked.url, asked.body or "", *asked.headers.values())))
        return Plan(
            self.spec.name,
            asked.model_dump(exclude_none=True),
            hosts=(target.grant,),
            secrets=tuple(dict.fromkeys(used)),
        )

    def apply(self, plan: Plan, context: ToolContext) -> str:
        def value(name: str) -> str:
            return context.secret(self.spec.name, name)

        return _result(self._answer(plan.arguments, context, value), context)

    def was_applied(self, plan: Plan, context: ToolContext) -> str | None:
        """Nobody here can tell what a server has done."""
        return None

    def _answer(self, arguments: Json, context: ToolContext, value: Callable[[str], str]) -> Answer:
        """The last answer, after redirects."""
        until = time.monotonic() + self._seconds
        method, body = arguments["method"], _filled(arguments.get("body"), value)
        url = _SECRET.sub(lambda found: quote(value(found[1]), safe=""), arguments["url"])
        headers = {name: _filled(given, value) or "" for name, given in arguments["headers"].items()}
        secret = {name.lower() for name, given in arguments["headers"].items() if _SECRET.search(given)}
        target = parse_url(url)
        for _ in range(REDIRECTS + 1):
            own = {} if method in _READING else {"Idempotency-Key": context.key}
            content = None if body is None or method in _READING else to_bytes(body)
            remaining = max(0.1, until - time.monotonic())
            answer = exchange(method, target, {**_defaults(), **headers, **own}, content, remaining)
            if answer.status not in {*_MOVED, _SEE_OTHER, *_SAME} or "location" not in answer.headers:
                return answer
            if answer.status == _SEE_OTHER or (answer.status in _MOVED and method not in _READING):
                method, body = "HEAD" if method == "HEAD" else "GET", None
            url = urljoin(url, answer.headers["location"])
            following = _granted(url, target, context)
            if following.grant != target.grant:
                headers = {name: text for name, text in headers.items() if name.lower() not in _FOR_ONE_HOST | secret}
            target = following
        raise ToolError(f"more than {REDIRECTS} redirects")


def _granted(url: str, before: Target, context: ToolContext) -> Target:
    target = parse_url(url)
    if target.grant not in context.network:
        raise ToolError(f"{before.grant} redirects to {target.grant}, which is not granted")
    if before.scheme == "https" and target.scheme == "http":
        raise ToolError(f"{before.grant} redirects from https to http")
    return target


def _defaults() -> Mapping[str, str]:
    return {"User-Agent": "edgeagent", "Accept": "*/*"}


def _check_headers(headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise ToolError(f"no header named {shown(name)} can be sent")
        if not _VALUE.fullmatch(value):
            raise ToolError(f"the header {name} holds what cannot be sent")


def _filled(text: str | None, value: Callable[[str], str]) -> str | None:
    return None if text is None else _SECRET.sub(lambda found: value(found[1]), text)


def _result(answer: Answer, context: ToolContext) -> str:
    """Status, kind and text. An answer of 400 and above is an error, with what the server said of it."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    head = f"HTTP {answer.status} {answer.reason}".rstrip() + (f", {kind}" if kind else "")
    text = context.redact(f"{head}\n\n{_text(answer, kind)}".rstrip())
    if answer.status >= 400:
        raise ToolError(text)
    return cut(text, context.result_limit)


def _text(answer: Answer, kind: str) -> str:
    if not answer.body:
        return ""
    if not _TEXT.match(kind) or b"\0" in answer.body:
        return f"[{counted(len(answer.body), 'byte')} that are no text]"
    charset = re.search(r"charset=\"?([A-Za-z0-9_.:-]+)", answer.headers.get("content-type", ""))
    try:
        text = answer.body.decode(charset[1] if charset else "utf-8", "replace")
    except LookupError:
        text = answer.body.decode("utf-8", "replace")
    return text if answer.is_whole else f"{text}\n[cut: more than {MAX_BYTES} bytes]"
