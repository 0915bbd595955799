"""The `edgeagent` command: finds the subcommand, and turns every error into its words and exit code (SPEC section 10).

This is the only place that does so. Commands are imported when they are used.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from edgeagent import __version__
from edgeagent.cli.app import App
from edgeagent.cli.command import COMMON, Command
from edgeagent.cli.screen import accept_any_text
from edgeagent.errors import AgentFileError, EdgeagentError, SkillError

INTERRUPTED = 130
_FOLLOWING = "  "
"""Before further lines of an error, so that none of them passes for another message."""

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo:demo", "See the main job done: files arrive, the bundled model decides, tools act."),
    "init": ("init:init", "Write config.toml and a first agent."),
    "run": ("run:run", "Run one agent now and show what it does."),
    "daemon": ("daemon:daemon", "Watch, wait and work, until it is stopped."),
    "trigger": ("trigger:trigger", "Hand an event to the daemon."),
    "status": ("status:status", "The daemon, its agents, the queue, the model."),
    "logs": ("logs:logs", "The log of the daemon."),
    "runs": ("runs:runs", "What has run, and how it went."),
    "agents": ("agents:agents", "The agents: list, show, write, check, switch."),
    "tools": ("tools:tools", "What agents can be allowed to do."),
    "skills": ("skills:skills", "Skills: folders with a SKILL.md that bring instructions and tools."),
    "mcp": ("mcp:mcp", "MCP servers: what they offer, and whether they are trusted."),
    "models": ("models:models", "The models on this device, and those that can be brought here."),
    "eval": ("eval:evaluate", "Try a model on cases: what must be done for an event."),
    "backup": ("backup:backup", "Copy the journal to PATH, also while the daemon runs."),
    "approvals": ("approvals:approvals", "Calls that wait for a person's yes or no."),
    "secrets": ("secrets:secrets", "Passwords and tokens that tools may use: set, list, remove."),
    "service": ("service:service", "Have the daemon started by systemd or launchd."),
    "doctor": ("doctor:doctor", "Check this installation, part by part."),
    "completion": ("completion:completion", "Print the script that completes commands in your shell."),
}
"""Where each command lies below `edgeagent.cli`, and what it does in one line, so that --help imports none of them."""


class Commands(click.Group):
    """The top group. Loads a command when it is asked for."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"edgeagent.cli.{module}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            from edgeagent.words import did_you_mean

            ctx.fail(f'no command "{name}"{did_you_mean(name, COMMANDS)}')
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])

    def main(  # type: ignore[override]  # standalone_mode is not for callers to choose
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Carries out one command line and exits with its code."""
        accept_any_text()
        app = extra.setdefault("obj", App(os.environ))
        code = _code_of(self, app, args, prog_name or "edgeagent", extra | {"standalone_mode": False})
        _let_go_of_output()
        sys.exit(code)


def _code_of(group: click.Group, app: App, args: Sequence[str] | None, name: str, extra: dict[str, Any]) -> int:
    try:
        code = click.Group.main(group, args, name, **extra)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        return _tell_of_usage(app, error)
    except EdgeagentError as error:
        return _tell(app, error)
    except BrokenPipeError:
        return 1  # whoever reads our output has seen enough
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _tell(app, EdgeagentError(f"{where}{error.strerror or error}", "edgeagent doctor"))
    except Exception as error:  # the last door: a user gets words, and with -v the traceback
        hint = "" if app.verbose else "the same with -v; what it prints belongs in a bug report"
        return _tell(app, EdgeagentError(f"internal fault: {type(error).__name__}: {error}", hint))
    finally:
        app.close()


def _tell(app: App, error: EdgeagentError) -> int:
    """`error: ...`, then the next thing to try. Problems of agent files stand bare, as compilers print them."""
    if app.verbose:
        app.notes.lines(traceback.format_exc().rstrip(), _FOLLOWING)
    if isinstance(error, AgentFileError | SkillError) and error.problems:
        for problem in error.problems:
            app.notes.line(str(problem))
    else:
        app.notes.lines(f"{app.notes.style('error:', 'red', 'bold')} {error.message}", _FOLLOWING)
    if error.hint:
        app.notes.lines(f"{app.notes.style('try:', 'bold')} {error.hint}", _FOLLOWING)
    return error.exit_code


def _tell_of_usage(app: App, error: click.ClickException) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        app.notes.lines(error.format_message())
        return error.exit_code
    message = error.format_message()
    path = context.command_path if context else "edgeagent"
    return _tell(app, _Usage(message[:1].lower() + message[1:].rstrip("."), f"{path} --help"))


class _Usage(EdgeagentError):
    exit_code = 2


def _let_go_of_output() -> None:
    """What cannot be written (a reader that went, a full disk) was told; Python would complain once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Commands, params=list(COMMON), no_args_is_help=True)
@click.version_option(__version__, message="edgeagent %(version)s")
def cli() -> None:
    """Small local models that act on this device when something happens.

    Everything is kept in the folder EDGEAGENT_HOME, or in your own configuration and data folders where it is unset.
    """


def keep_no_core() -> None:
    """A crash leaves no copy of our memory, where secrets may be. One byte: with none, a kernel that hands cores to a
    program would still start it."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (1 if most else 0, most))


def main() -> None:
    keep_no_core()
    cli.main(prog_name="edgeagent")
