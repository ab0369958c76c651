"""`behunt completion`: what a shell needs to complete behunt's words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(
    epilog="""\b
Examples:
  behunt completion bash > /etc/bash_completion.d/behunt
  behunt completion zsh > ~/.zfunc/_behunt
  behunt completion fish > ~/.config/fish/completions/behunt.fish"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    if found is not None:
        click.echo(found(ctx.find_root().command, {}, "behunt", "_BEHUNT_COMPLETE").source())
