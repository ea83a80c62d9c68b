"""The command line's frame: verbs loaded when called, errors turned into two sentences and an exit code."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

# Help comes from here, so that `zoo --help` imports no verb. A verb is offered where its module exists.
VERBS = {
    "list": "Models that can be had: name, size, input, weights, licence.",
    "info": "Everything known about one model or data set, or about a run.",
    "plugins": "Installed plugins, and what is wrong with those that do not load.",
    "data": "What a data set holds: splits, labels, lengths, first samples.",
    "pretrain": "Train a model on data without labels.",
    "finetune": "Train a pretrained model on your data.",
    "evaluate": "Measure a run, a checkpoint or an export on data.",
    "predict": "Label images, texts or sounds with a trained model.",
    "embed": "One vector for each input of a collection, as a Parquet file.",
    "publish": "Write a run's weights, a model card and a package that others install.",
    "export": "Write a trained model as ONNX, with its preprocessing and a parity check.",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        folder = Path(__file__).parent
        return [verb for verb in VERBS if (folder / f"{verb}.py").is_file()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"zoo.cli.{cmd_name}").command
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verbs = self.list_commands(ctx)
        if args and args[0] not in verbs and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], verbs, 1)
            guess = f"Did you mean '{near[0]}'?" if near else f"The commands are {', '.join(verbs)}."
            raise click.UsageError(f"There is no command '{args[0]}'. {guess}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb]) for verb in self.list_commands(ctx)])


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        import zoo

        click.echo(f"zoo {zoo.__version__}")
        ctx.exit()


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show it and exit."
)
def main() -> None:
    """Find a pretrained backbone, finetune it, measure it, export it."""


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code (0 ok, 1 failed, 2 usage, 3 name, 4 plugin, 5 missing package or
    weights, 6 data, 130 interrupted, 143 terminated). ``ZOO_DEBUG=1`` lets exceptions through with their traceback.
    """
    try:
        result: Any = main.main(arguments, prog_name="zoo", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has enough. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _explain(error)


def _explain(error: Exception) -> int:
    from zoo_registry.errors import ZooError

    if os.environ.get("ZOO_DEBUG", "0").lower() in {"1", "true", "yes", "on"}:
        raise error
    if isinstance(error, ZooError):
        print(f"error: {error.problem}", file=sys.stderr)
        if error.remedy:
            print(error.remedy, file=sys.stderr)
        return error.exit_code
    text = " ".join(str(error).split())
    print(f"internal error: {type(error).__name__}: {text}; rerun with ZOO_DEBUG=1 to see where.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(run())
