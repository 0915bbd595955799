"""The exception tree. Every error that a user may see ends with the next thing to try.

EdgeagentError                 exit 1
├── UsageError                 exit 2: the command line or an input is wrong
│   ├── AgentFileError         exit 2: an agent file is wrong; renders as FILE:LINE: message
│   │   └── CaseFileError      exit 2: a case file is wrong; the same
│   └── SkillError             exit 2: a skill cannot be read, unpacked or run; the same
├── ConfigError                exit 2: config.toml or an EDGEAGENT_ variable is wrong
├── DaemonNotRunning           exit 3
├── Denied                     exit 4: policy said no, or nobody was there to say yes
│   └── Unauthorized           exit 4: who asks has not shown that they may
├── NotFound                   exit 5: no such agent, run, model ...
├── HomeError                  exit 1: the home cannot be used (not writable, another daemon, newer database)
│   └── DamagedJournal         exit 1: the database is damaged, or is none
├── ServiceError               exit 1: the service of systemd or launchd cannot be had, changed or asked
├── SecretError                exit 1: a secret cannot be read or kept
├── ModelError                 exit 1: the model cannot be loaded or its host died
│   ├── InvalidModel           exit 2: a file that is no usable model
│   ├── ModelCancelled         the caller asked to stop
│   ├── ModelHostDied          the process that ran the model ended in the middle of a turn
│   ├── NotEnoughMemory        it would not fit; it may later
│   └── PromptTooLong          the conversation does not fit
├── McpError                   exit 1: an MCP server cannot be started, or is trusted no more
├── SandboxError               exit 1: a command cannot be confined as it must be, so it does not run
└── ToolError                  a tool call failed; becomes a result that the model sees
"""

from __future__ import annotations

from dataclasses import dataclass


class EdgeagentError(Exception):
    """Base of all errors that edgeagent raises on purpose.

    Args:
        message: one line saying what is wrong and where.
        hint: the next command or action to try; shown on a line of its own.
    """

    exit_code = 1
    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EdgeagentError):
    exit_code = 2
    code = "usage"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in an agent's or a skill's file. `line` counts from 1."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class AgentFileError(UsageError):
    """An agent file that cannot be used, with every fault that was found in it."""

    code = "invalid_agent"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class CaseFileError(AgentFileError):
    """A case file that cannot be used, with every fault that was found in it and in its agents."""

    code = "invalid_cases"


class SkillError(UsageError):
    """A skill that cannot be used: with every fault of its files, or (`of`) with one sentence."""

    code = "invalid_skill"

    def __init__(self, problems: list[Problem], message: str = "", hint: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__(message or "\n".join(str(problem) for problem in problems), hint)

    @classmethod
    def of(cls, message: str, hint: str = "") -> SkillError:
        return cls([], message, hint)


class ConfigError(EdgeagentError):
    exit_code = 2
    code = "invalid_config"


class DaemonNotRunning(EdgeagentError):
    exit_code = 3
    code = "daemon_not_running"


class Denied(EdgeagentError):
    exit_code = 4
    code = "denied"


class Unauthorized(Denied):
    code = "unauthorized"


class NotFound(EdgeagentError):
    exit_code = 5
    code = "not_found"


class HomeError(EdgeagentError):
    code = "home"


class DamagedJournal(HomeError):
    code = "damaged_journal"


class ServiceError(EdgeagentError):
    code = "service"


class SecretError(EdgeagentError):
    code = "secret"


class ModelError(EdgeagentError):
    code = "model"


class InvalidModel(ModelError):
    exit_code = 2
    code = "invalid_model"


class ModelCancelled(ModelError):
    code = "cancelled"


class NotEnoughMemory(ModelError):
    code = "memory"


class ModelHostDied(ModelError):
    code = "model_host_died"

    WORDS = "the model host died"
    """How the message begins: a step that was recorded with it can be told from others."""


class PromptTooLong(ModelError):
    code = "prompt_too_long"


class McpError(EdgeagentError):
    code = "mcp"


class SandboxError(EdgeagentError):
    code = "sandbox"


class ToolError(EdgeagentError):
    code = "tool"
