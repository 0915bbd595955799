"""Who uses the machine: commands are typed in a session of theirs, and shown with what they answer."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from typing import Any

from service_machine.machine import Machine, until

FOLDER = "/opt/edge agent 100%"
"""Where edgeagent is installed in the machine: with what unit files give a meaning to."""


@dataclass
class Tally:
    """What was seen to hold, and what was not."""

    seen: list[tuple[str, bool, str]] = field(default_factory=list)

    def check(self, claim: str, holds: bool, detail: str = "") -> None:
        self.seen.append((claim, holds, detail))
        print(f"  [{'ok' if holds else 'NOT'}] {claim}{f': {detail}' if detail else ''}", flush=True)

    @property
    def broken(self) -> int:
        return sum(not holds for _, holds, _ in self.seen)


@dataclass
class Person:
    """A user of the machine and the service that is theirs; root has that of the system.

    `name` types at a login session; commands on the home are given as `owner`, whom the daemon runs as.
    """

    machine: Machine
    name: str
    home: str
    inbox: str
    done: str

    @property
    def is_root(self) -> bool:
        return self.name == "root"

    @property
    def scope(self) -> list[str]:
        return [] if self.is_root else ["--user"]

    def types(self, line: str, *, show: bool = True) -> tuple[int, str]:
        """Exit code, and everything that is printed."""
        quoted = f"{line}\necho exit code $?"
        if self.is_root:
            said = self.machine.run("bash", "-lc", quoted)
        else:
            session = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect", "--property=PAMName=login")
            escaped = quoted.replace("$", "$$")  # systemd would fill in variables of its own
            said = self.machine.run(*session, f"--property=User={self.name}", "bash", "-lc", escaped)
        text, _, code = said.rpartition("exit code ")
        if show:
            print(f"{self.name}{'#' if self.is_root else '$'} {line}")
            for told in [*text.rstrip().splitlines(), *([f"(exit code {code})"] if code != "0" else [])]:
                print(f"    {told}", flush=True)
        return int(code), text.strip()

    def edgeagent(self, *words: str, show: bool = True) -> tuple[int, str]:
        """A command on the home of the service."""
        line = shlex.join(["edgeagent", *words])
        if self.is_root:
            line = f"runuser -u edgeagent -- env EDGEAGENT_HOME={self.home} {line}"
        return self.types(line, show=show)

    def service(self, *words: str) -> tuple[int, str]:
        return self.types(shlex.join(["edgeagent", "service", *words, *(["--system"] if self.is_root else [])]))

    def systemctl(self, *words: str, show: bool = False) -> tuple[int, str]:
        return self.types(shlex.join(["systemctl", *self.scope, *words]), show=show)

    def shows(self, name: str) -> str:
        return self.systemctl("show", "--property", name, "--value", "edgeagent.service")[1]

    def journal(self) -> str:
        return self.types(shlex.join(["journalctl", *self.scope, "-u", "edgeagent", "--no-pager"]), show=False)[1]

    def drop(self, *names: str) -> None:
        self.types(f'for f in {" ".join(names)}; do echo "This is $f." > {self.inbox}/$f.txt; done')

    def runs(self, agent: str = "inbox") -> list[dict[str, Any]]:
        code, told = self.edgeagent("runs", "list", "--agent", agent, "--json", show=False)
        found: list[dict[str, Any]] = json.loads(told) if code == 0 else []
        return found

    def names(self, status: str = "ok") -> list[str]:
        """What has run, by the names of the files."""
        return sorted(run["event"]["name"].removesuffix(".txt") for run in self.runs() if run["status"] == status)

    def until_ran(self, names: list[str]) -> None:
        until(lambda: self.names() == names, f"{names} have run")

    def drop_in(self, name: str, text: str) -> None:
        """As `systemctl edit` would leave it."""
        folder = "/etc/systemd/system" if self.is_root else f"/home/{self.name}/.config/systemd/user"
        path = f"{folder}/edgeagent.service.d/{name}.conf"
        if text:
            self.machine.write(path, text)
        else:
            self.machine.run("rm", "-f", path)
        self.systemctl("daemon-reload")
