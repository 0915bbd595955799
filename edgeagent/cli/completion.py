"""`edgeagent completion`: the script for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from edgeagent.cli.app import App
from edgeagent.cli.command import Command

_SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands in your shell.

    \b
    bash, in ~/.bashrc:  eval "$(edgeagent completion bash)"
    zsh, in ~/.zshrc:    eval "$(edgeagent completion zsh)"
    fish:  edgeagent completion fish > ~/.config/fish/completions/edgeagent.fish
    """
    made = get_completion_class(shell)
    assert made is not None, "the choice is limited to shells that click knows"
    app = context.ensure_object(App)
    app.screen.lines(made(context.find_root().command, {}, "edgeagent", "_EDGEAGENT_COMPLETE").source())
