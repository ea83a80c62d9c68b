"""The model card of an export: what it is, how to use it, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

_TEMPLATE = """\
---
library_name: onnx
tags: [onnx, zookit, {{ m.task }}]
---

# {{ m.model_id }} for {{ m.data.name }}

{{ kind }}, {{ started }} on {{ m.data.name }} ({{ m.data.origin }}) and exported to ONNX in
{{ m.precision }} with zookit {{ m.versions.zookit }}.
{% if m.labels %}
**Labels** ({{ m.labels | length }}): {{ shown }}
{% endif %}
## Use

```
zoo predict DIR image.jpg
```

```python
from zoo.serve_model import OnnxModel   # numpy, pillow and onnxruntime; no torch

model = OnnxModel("DIR")
model.predict(["image.jpg"])            # [{"label": ..., "score": ..., "scores": {...}}]
```

Without zoo, `model.onnx` takes:

| name | type | shape | meaning |
|---|---|---|---|
{% for t in tensors -%}
| `{{ t.name }}` | {{ t.type }} | {{ t.shape }} | {{ t.meaning }} |
{% endfor %}
{% if m.preprocess == "graph" -%}
Resizing ({{ p.interpolation }}, antialiased), centre crop and normalisation are inside the graph. Apply the EXIF
orientation before; all images of one batch have one size.
{%- elif p.kind == "image" -%}
Preprocessing: {{ resize }}; centre crop {{ p.size[2] }} x {{ p.size[1] }}; divide by 255; subtract {{ p.mean }};
divide by {{ p.std }} ({{ p.colour }}).
{%- endif %}

## Measured

On {{ parity.samples }} validation samples, from the raw files to the answer:

| | torch (float32) | this export ({{ m.precision }}) |
|---|---|---|
| {{ parity.score_name }} | {{ "%.4f" | format(parity.score_torch) }} | {{ "%.4f" | format(parity.score_onnx) }} |
| latency, batch 1, median | {{ "%.2f" | format(latency.torch_ms) }} ms | {{ "%.2f" | format(latency.onnx_ms) }} ms |

Same answer: {{ "%.2f" | format(100 * parity.agreement) }} %. \
Largest logit difference: {{ "%.2g" | format(parity.max_logit_difference) }}. \
Latency on one CPU thread{{ ", preprocessing included" if m.preprocess == "graph" }}.
{% for note in m.notes %}
> {{ note }}
{% endfor %}
{%- if metrics %}
Validation metrics of the run: {{ metrics }}.
{% endif %}
## Provenance

| | |
|---|---|
| model | `{{ m.model_id }}` (plugin {{ m.plugin }} {{ m.plugin_version }}) |
| starting weights | {{ m.weights_id }}{{ ", sha256 " ~ m.weights_sha256 if m.weights_sha256 }} |
| data | {{ m.data.name }}, fingerprint {{ m.data.fingerprint }} |
{% for name, digest in m.sha256.items() -%}
| `{{ name }}` | sha256 {{ digest }} |
{% endfor %}
## Limits

The figures hold for data like {{ m.data.name }}; other cameras, places or populations need a measurement of their own:
`zoo evaluate DIR --data YOUR_DATA`. Inputs of none of the labels still get one.
"""

_KIND = {
    "classification": "An image classifier",
    "multi-label": "A multi-label classifier",
    "regression": "A regression model",
}


def write_card(meta: Mapping[str, Any]) -> str:
    """The card as Markdown, from the export's ``model.json``."""
    labels = [f"`{label}`" for label in meta["labels"]]
    shown = ", ".join(labels[:50]) + (f" … and {len(labels) - 50} more (model.json)" if len(labels) > 50 else "")
    preprocessing = meta["preprocessing"]
    classes = str(len(labels)) if labels else "1"
    tensors = [{**meta["onnx_input"], "meaning": "input"}]
    tensors[0]["shape"] = " x ".join(map(str, tensors[0]["shape"]))
    tensors.append({"name": "logits", "type": "float32", "shape": f"batch x {classes}", "meaning": "output"})
    shape = "batch" if meta["task"] == "regression" else f"batch x {classes}"
    meaning = "output: values" if meta["task"] == "regression" else "output: probabilities, in the order of the labels"
    tensors.append({"name": "scores", "type": "float32", "shape": shape, "meaning": meaning})
    metrics = ", ".join(f"{k} {v:.4g}" for k, v in meta["metrics"].items() if isinstance(v, int | float))
    template = Environment(autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True)
    return template.from_string(_TEMPLATE).render(
        m=meta,
        p=preprocessing,
        started=_started(meta["weights_id"]),
        kind=_KIND.get(meta["task"], "A model"),
        shown=shown,
        tensors=tensors,
        parity=meta["parity"],
        latency=meta["latency"],
        metrics=metrics,
        resize=_resize(preprocessing),
    )


def _started(weights_id: str | None) -> str:
    return "trained from random weights" if weights_id in (None, "none") else f"finetuned from `{weights_id}`"


def _resize(preprocessing: Mapping[str, Any]) -> str:
    height, width = preprocessing.get("resize", (0, 0))
    if preprocessing.get("crop_mode") == "center":
        return f"resize the short side to {height} ({preprocessing['interpolation']}, antialiased)"
    return f"resize to {width} x {height} ({preprocessing.get('crop_mode')}, {preprocessing.get('interpolation')})"
