"""The model card of published weights: what they are, how to use them, what they learned from, what was measured."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, StrictUndefined

from zoo.run_facts import learned_text
from zoo_registry.specs import ModelSpec

_TEMPLATE = """\
---
license: {{ license_tag }}
library_name: zookit
tags: [zookit, {{ m.input.modality }}, {{ f.verb }}]
---

# {{ title }}

Weights of `{{ m.model_id }}`{{ ", without a head" if f.verb != "pretrain" }}, {{ what }} with zookit \
{{ m.versions.zookit }}.

## Use

```
pip install {{ wheel }}
{{ command }}
```

Or from this folder, without installing it: `zoo finetune DIR --data ...`, with DIR where this card lies.

```python
import zoo

backbone = zoo.load({{ load }}).backbone
```
{% if timm %}
In timm:

```python
import timm
from safetensors.torch import load_file

model = timm.create_model({{ timm }}, num_classes=0)
model.load_state_dict(load_file("backbone.safetensors"))
```
{% else %}
The tensors of `backbone.safetensors` have the names of the original library's module, which is
`zoo.load({{ bare }}, weights="none").backbone.module` here.
{% endif %}
## Input

| | |
|---|---|
{% for name, value in input -%}
| {{ name }} | {{ value }} |
{% endfor %}
## Training

| | |
|---|---|
| {{ "objective" if f.verb == "pretrain" else "task" }} | {{ learned }} |
| started from | {{ started }} |
| data | {{ f.data.name }}{{ " (built-in sample: it says nothing about real data)" if f.data.sample }}, \
fingerprint `{{ f.data.fingerprint }}` |
| samples | {{ sizes }} |
| steps | {{ steps }} |
| seed | {{ f.seed }} |
| versions | {{ versions }} |

## Measured

{% if metrics -%}
On {{ f.measured_on }} validation samples of that data, which also chose the weights:

| metric | value | 95 % interval |
|---|---|---|
{% for name, value, between in metrics -%}
| {{ name }} | {{ value }} | {{ between }} |
{% endfor %}
{%- else -%}
Nothing was measured.
{% endif %}
## Licence

{{ licence }}

## Files

| file | sha256 |
|---|---|
{% for name, digest in digests.items() -%}
| `{{ name }}` | `{{ digest }}` |
{% endfor -%}
"""


def render_card(
    meta: dict[str, Any],
    facts: dict[str, Any],
    spec: ModelSpec,
    *,
    title: str,
    wheel: str,
    load: str,
    command: str,
    started: str,
    license: str,
    base_license: str,
    digests: dict[str, str],
) -> str:
    """README.md as Markdown, with the front matter that model hubs read.

    Args:
        meta: the published model.json.
        facts: :func:`zoo.run_facts.run_facts` of the run.
        spec: the architecture.
        load: arguments of :func:`zoo.load`, as Python.
        command: that uses the installed package.
        started: what the run started from.
        base_license: of those weights; empty where it is not known.
        digests: file name -> sha256.
    """
    verb = "pretrained" if facts["verb"] == "pretrain" else "finetuned"
    between = facts["intervals"]
    metrics = [
        (name, f"{value:.4f}", " to ".join(f"{end:.4f}" for end in between[name]) if between.get(name) else "")
        for name, value in facts["metrics"].items()
        if isinstance(value, (int, float))
    ]
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_TEMPLATE).render(
        m=meta,
        f=facts,
        title=title,
        wheel=wheel,
        load=load,
        bare=f'"{meta["model_id"]}"',
        command=command,
        started=started,
        what=f"{verb} on {facts['data'].get('name', 'unnamed data')}",
        learned=learned_text(facts),
        input=_input_rows(meta["input"]),
        sizes=", ".join(f"{split} {size:,}" for split, size in (facts["data"].get("sizes") or {}).items()),
        steps=", ".join(f"{stage} {step:,}" for stage, step in facts["steps"].items()),
        versions=", ".join(f"{name} {version}" for name, version in meta["versions"].items()),
        metrics=metrics,
        license_tag=license.lower() or "unknown",
        licence=_licence(license, base_license),
        timm=_timm(meta, spec),
        digests=digests,
    )


def _licence(license: str, base_license: str) -> str:
    own = f"{license}." if license else "Not stated by whoever published these weights: ask before using them."
    return f"{own} The weights that training started from: {base_license}." if base_license else own


def _timm(meta: dict[str, Any], spec: ModelSpec) -> str:
    """Arguments of ``timm.create_model``; empty for what is no timm model."""
    if spec.requires != ("timm",):
        return ""
    channels, height, width = meta["input"]["size"]
    options = "" if channels == 3 else f", in_chans={channels}"
    if spec.input.fixed_size:
        options += f", img_size=({height}, {width})"
    return f'"{spec.name}"{options}'


def _input_rows(contract: dict[str, Any]) -> list[tuple[str, str]]:
    """What there is to say of an input contract, each side of pairs in turn."""
    rows = []
    for part in contract["parts"] or [contract]:
        of = f"{part['modality']}: " if contract["parts"] else ""
        told = {"modality": part["modality"], "size": part["size"], "rate": part["rate"], "seconds": part["seconds"]}
        if part["modality"] == "image":
            keys = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
            told |= {name: part[name] for name in keys}
        rows += [(f"{of}{name}", _text(value)) for name, value in told.items() if value]
    return rows


def _text(value: Any) -> str:
    if not isinstance(value, (list, tuple)):
        return str(value)
    return (" x " if all(isinstance(one, int) for one in value) else ", ").join(map(str, value))
