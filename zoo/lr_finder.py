"""``--find-lr``: the learning-rate range test before end-to-end training, kept in the run folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from zoo.console import say
from zoo.data.batches import Train
from zoo.engine.config import EngineConfig
from zoo.engine.find_lr import find_lr
from zoo.protocols import ParamGroup
from zoo.report.lr_chart import lr_chart
from zoo.run import write_json, write_text

if TYPE_CHECKING:
    from zoo.stages import Context

FILE, CHART = "lr_finder.json", "lr_finder.svg"
STYLE = (
    "<style>.line{fill:none;stroke-width:1.5}.s0{stroke:#b9c6d8}.s1{stroke:#2a6fdb}.dot{stroke:none;fill:#2a6fdb}"
    ".grid{stroke:#e4e4df}text{font:11px sans-serif;fill:#5d5d63}</style>"
)


def with_found_lr(
    context: Context, train: Train, engine: EngineConfig, groups: Mapping[str, Sequence[ParamGroup]]
) -> tuple[Context, EngineConfig]:
    """Both with the learning rate that a search finds, or ``engine``'s where it finds none. The run's configuration
    holds it from now on as if it had been given: a resumed run goes on with it, a repeated one begins with it."""
    say("learning rate: searching")
    search = find_lr(context.task, train, engine, groups, runtime=context.runtime)
    lr = search.valley or engine.lr
    if search.valley is None:
        say(f"learning rate: the loss never fell for long, so it is {lr:g}, the usual one")
    else:
        steepest = f"; it fell fastest at {search.steepest:g}" if search.steepest else ""
        ended = f"broke away at {search.rates[-1]:.1e}" if search.broke else f"held up to {search.rates[-1]:g}"
        say(f"learning rate: {lr:g}, midway down the longest fall of the loss{steepest}, and {ended}")
    config = context.config.model_copy(update={"lr": lr, "find_lr": False})
    if context.runtime.is_main:
        found = dataclasses.asdict(search)
        write_json(context.run.path / FILE, {"schema_version": 1, "lr": lr, **found})
        write_text(context.run.path / CHART, _standing_alone(lr_chart(found)))
        context.run.update_config(config.model_dump())
        context.run.update_manifest(lr_finder={"lr": lr, "valley": search.valley, "steepest": search.steepest})
    context.runtime.barrier()
    return dataclasses.replace(context, config=config), engine.model_copy(update={"lr": lr})


def kept_search(run: Path) -> dict[str, Any] | None:
    """What a search left in a run folder, or None."""
    try:
        return dict(json.loads((run / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _standing_alone(svg: Markup) -> str:
    """An SVG file: what a page gives an element of its own."""
    head, close, body = str(svg).partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"{close}{STYLE}{body}\n'
