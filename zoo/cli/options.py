"""Command-line options made from configuration fields, so that the two never part."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from zoo.config import RunConfig


def _click_type(annotation: Any) -> Any:
    """``float | None`` -> float; ``Literal["a", "b"]`` -> a choice."""
    options = [a for a in get_args(annotation) if a is not type(None)]
    if get_origin(annotation) in (Union, types.UnionType) and len(options) == 1:
        annotation = options[0]
    if get_origin(annotation) is Literal:
        return click.Choice(list(get_args(annotation)))
    return annotation


def _help(field: FieldInfo) -> str:
    silent = field.is_required() or field.default is None or isinstance(field.default, bool)
    default = "" if silent else f"  [default: {field.default}]"
    return f"{field.description}{default}"


def config_options(kind: type[RunConfig]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """One option per field of a configuration that is neither an argument nor a mapping. Defaults stay None here, so
    that only given flags override a file."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, field in reversed(_ordered(kind).items()):
            flag = "--" + name.replace("_", "-")
            if field.annotation is bool:
                option = click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=_help(field))
            else:
                option = click.option(flag, name, type=_click_type(field.annotation), default=None, help=_help(field))
            command = option(command)
        return command

    return decorate


def _ordered(kind: type[RunConfig]) -> dict[str, FieldInfo]:
    """The fields, what is the verb's own right after the data."""
    fields = {name: field for name, field in kind.model_fields.items() if name not in ("model", "options")}
    own = [name for name in fields if name not in RunConfig.model_fields]  # a changed default is no field of its own
    first = ["data", "weights", *own]
    return {name: fields[name] for name in [*first, *(name for name in fields if name not in first)]}
