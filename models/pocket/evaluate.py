"""Measures `pocket` (or any GGUF) through the model host, as the product runs it: constrained, greedy, turn by turn.

    python evaluate.py --gguf pocket.gguf --episodes 400 --documents ../../tests/data/handwritten.yaml

Two sets. Generated episodes whose names, wordings and document content are held out from training: an episode is exact
when every call has exactly the right name and arguments and nothing is called where nothing is to be done. Documents
written by hand, under agents written by hand: a document is right when it is filed where it belongs, or left alone
where no rule fits. The closing sentence is counted apart. Intervals are Wilson's at 95 %.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from corpus import composer
from draws import Episode

from edgeagent.model.client import HostModel, HostOptions
from edgeagent.model.protocol import ChatRequest, ChatResult
from edgeagent.prompt import opening_messages
from edgeagent.schema import Event, Message, ToolSpec
from edgeagent.tools.specs import BUILTIN_SPECS

HERE = Path(__file__).parent


def interval(right: int, total: int) -> str:
    """`93.1 % (90.2-95.2)`."""
    if not total:
        return "none"
    z, p = 1.96, right / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return f"{100 * p:.1f} % ({100 * (middle - half):.1f}-{100 * (middle + half):.1f})"


@dataclass
class Judge:
    """Asks the model and compares."""

    model: HostModel
    show: bool

    def ask(self, messages: tuple[Message, ...], tools: tuple[ToolSpec, ...]) -> ChatResult:
        request = ChatRequest(messages, tools, max_tokens=600)
        return self.model.chat(request, threading.Event(), lambda text: None)

    def episode(self, episode: Episode) -> tuple[bool, bool, bool]:
        """Whether every call was exact, whether the closing sentence was, and whether the kind was named."""
        calls, kind = True, True
        closing = False
        for index, gold in enumerate(episode.messages):
            if gold.role != "assistant":
                continue
            result = self.ask(episode.messages[:index], episode.tools)
            if gold.reasoning and episode.kind and gold.reasoning.startswith(episode.kind):
                kind = result.reasoning.split("\n")[0] == episode.kind
            wanted = gold.calls[0] if gold.calls else None
            if result.call != wanted:
                self._show(episode, gold, result)
                return False, False, kind
            closing = result.text == gold.content
        return calls, closing, kind

    def _show(self, episode: Episode, gold: Message, result: ChatResult) -> None:
        if self.show:
            print("---", episode.family, episode.right)
            print(episode.messages[0].content)
            print(episode.messages[1].content)
            print("WANTED:", gold.reasoning, gold.calls, gold.content)
            print("GOT:   ", result.reasoning, result.call, result.text, flush=True)


def held_out_table(judge: Judge, count: int, seed: str) -> None:
    make = composer(f"evaluation/{seed}", None, held_out=True)
    make.echo_share = 0.0
    exact: Counter[str] = Counter()
    total: Counter[str] = Counter()
    closings = kinds = 0
    for _ in range(count):
        episode = make.episode()
        right, closing, kind = judge.episode(episode)
        closings += closing
        kinds += kind
        for key in (f"{episode.family} / {episode.right}", "all"):
            total[key] += 1
            exact[key] += right
    print("\n| held-out episodes | n | exact |\n| --- | ---: | --- |")
    for key in sorted(total, key=lambda name: (name == "all", name)):
        print(f"| {key} | {total[key]} | {interval(exact[key], total[key])} |")
    print(f"| closing sentence also exact | {count} | {interval(closings, count)} |")
    print(f"| kind named right | {count} | {interval(kinds, count)} |", flush=True)


def documents(path: Path) -> Iterator[tuple[dict[str, object], dict[str, str], str | None]]:
    """Agent, document and where it belongs (None: to be left), for every pair that is clear."""
    agents = yaml.safe_load((HERE / "handwritten-agents.yaml").read_text(encoding="utf-8"))
    for document in yaml.safe_load(path.read_text(encoding="utf-8")):
        for number, agent in enumerate(agents):
            home = next((folder for folder, kinds in agent["folders"].items() if document["kind"] in kinds), None)
            if document["kind"] in agent["unclear"]:
                continue
            # Every document under each agent that has a rule for it, and under two that have none.
            if home is None and (len(document["name"]) + number) % 4:
                continue
            yield agent, document, home or agent.get("otherwise")


def documents_table(judge: Judge, path: Path, first: int) -> None:
    tools = (BUILTIN_SPECS["move_file"],)
    total: Counter[str] = Counter()
    right: Counter[str] = Counter()
    wrong = 0
    for agent, document, home in itertools.islice(documents(path), first):
        text = document["text"]
        data = {
            "path": f"/home/lena/Inbox/{document['name']}",
            "name": document["name"],
            "size": len(text.encode()),
            "change": "created",
            "preview": text[:400],
        }
        messages = tuple(opening_messages(str(agent["instructions"]), Event("", "file", "", "", data)))
        result = judge.ask(messages, tools)
        wanted = f"{home}/{document['name']}" if home else None
        got = result.call.arguments["destination"] if result.call else None
        key = (
            "to be left alone"
            if home is None
            else "to the last folder"
            if home == agent.get("otherwise")
            else "to be filed"
        )
        total[key] += 1
        right[key] += got == wanted
        wrong += got is not None and got != wanted
        if got != wanted and judge.show:
            reasoning = result.reasoning.replace(chr(10), "; ")
            print(
                f"{document['kind']:20} {document['name']:28} under {agent['name']:14} {reasoning} -> {got}", flush=True
            )
    print("\n| hand-written documents | n | right |\n| --- | ---: | --- |")
    for key in total:
        print(f"| {key} | {total[key]} | {interval(right[key], total[key])} |")
    every = sum(total.values())
    print(f"| all | {every} | {interval(sum(right.values()), every)} |")
    print(f"| wrong action | {every} | {interval(wrong, every)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, default=HERE / "pocket.gguf")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--documents", type=Path, default=HERE.parent.parent / "tests" / "data" / "handwritten.yaml")
    parser.add_argument("--first", type=int, default=10**6, help="at most so many of the documents")
    parser.add_argument("--show", action="store_true", help="print what went wrong")
    arguments = parser.parse_args()
    model = HostModel("pocket", arguments.gguf, HostOptions(threads=1))
    print(json.dumps(model.facts()))
    judge = Judge(model, arguments.show)
    if arguments.episodes:
        held_out_table(judge, arguments.episodes, arguments.seed)
    if arguments.documents.exists():
        documents_table(judge, arguments.documents, arguments.first)
    model.close()


if __name__ == "__main__":
    main()
