"""Click groups and commands of shapes that click does not have."""

from __future__ import annotations

import click


class DefaultGroup(click.Group):
    """`group WORDS…` is its hidden command `default`, unless the first word names another.

    The hidden command's options are shown as the group's own.
    """

    default = "default"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, "--help"}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return self.commands[self.default].collect_usage_pieces(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands[self.default].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class TakesCommand(click.Command):
    """What follows `--` is kept apart, as `ctx.meta["behunt.rest"]`, None without a `--`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = None
        if "--" in args:
            cut = args.index("--")
            args, rest = args[:cut], args[cut + 1 :]
        ctx.meta["behunt.rest"] = rest
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND or ARGUMENTS...]"]


def rest_of(ctx: click.Context) -> list[str] | None:
    rest: list[str] | None = ctx.meta["behunt.rest"]
    return rest
