"""Any text model of the hub or in a folder, by its place: ``hf:ORG/NAME[@REVISION]``, ``hf:./FOLDER``. Imports no
torch."""

from __future__ import annotations

import dataclasses
import os
import re

from zoo_registry.errors import UnknownName
from zoo_registry.registry import Registry
from zoo_registry.specs import ModelSpec, WeightsSpec


def derive(spec: ModelSpec, rest: str, registry: Registry) -> tuple[ModelSpec, WeightsSpec]:
    """The records of the model at the place ``rest``, made from the record of all of them.

    Raises:
        UnknownName: ``rest`` is no place.
    """
    place, _, tag = rest.partition("@")
    local = place.startswith((".", "/", "~"))
    if local:
        place = os.path.abspath(os.path.expanduser(place))
    elif not re.fullmatch(r"[\w.-]+/[\w.-]+", place):
        raise UnknownName(
            f"'{spec.prefix}{rest}' names no model.",
            f"Write {spec.prefix}ORG/NAME[@REVISION], or {spec.prefix}./FOLDER.",
        )
    name = f"{spec.prefix}{place}"
    tag = tag or ("local" if local else "main")
    source = f"folder:{place}" if local else f"hub:{place}" if tag == "main" else f"hub:{place}@{tag}"
    (pattern,) = registry.weights_of(f"text/{spec.name}")
    return (
        dataclasses.replace(spec, name=name, options={**spec.options, "repo": place}),
        dataclasses.replace(pattern, model=name, tag=tag, sources=(source,)),
    )
