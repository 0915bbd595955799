"""The agent of a case as it runs in the scratch home: the same file, with a name of its own and the model asked for.

Every case gets another name, so that nothing is remembered from one to the next. What lies below the person's home
folder lies below that of the scratch home instead.
"""

from __future__ import annotations

from edgeagent.agents import Agent
from edgeagent.agents.frontmatter import Document, read_document
from edgeagent.errors import UsageError


def adapted(text: str, home: str) -> str:
    """With `~` where the path of the person's home folder is written out."""
    return text.replace(f"{home}/", "~/") if len(home) > 1 else text


def rewritten(text: str, values: dict[str, str]) -> str:
    """The file with these keys of its frontmatter set. UsageError where a key is not on lines of its own."""
    document = read_document(text.encode())
    lines = text.splitlines()
    opening = lines.index(next(line for line in lines if line.strip() == "---"))
    for first, last in sorted((_span(document, key) for key in values if (key,) in document.lines), reverse=True):
        if not any(lines[first - 1].startswith((f"{key}:", f'"{key}":')) for key in values):
            raise UsageError("the agent's name and model cannot be set", "write each key on a line of its own")
        del lines[first - 1 : last - 1]
    lines[opening + 1 : opening + 1] = [f"{key}: {value}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _span(document: Document, key: str) -> tuple[int, int]:
    """The line of a key, and that of what follows it: another key or the end of the frontmatter."""
    first = document.line_of((key,))
    later = [line for place, line in document.lines.items() if len(place) == 1 and line > first]
    return first, min([*later, document.body_line])


def objection(agent: Agent) -> str | None:
    """What an evaluation of this agent would do for real; None where all of it stays in the scratch home."""
    outside = [path for path in (*agent.grants.read, *agent.grants.write) if not path.startswith("~")]
    if outside:
        return f"is granted {outside[0]}, which is not below the home folder, so an evaluation would touch it"
    if agent.grants.network:
        return f"may reach {agent.grants.network[0]}, so an evaluation would call it"
    return None
