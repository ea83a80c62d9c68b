"""The model card of an export of a model of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

from zoo.exporting.card import origin_of

_TEMPLATE = """\
---
library_name: onnx
tags: [onnx, zookit, {{ modality }}]
---

# {{ m.model_id }}

Two towers, of {{ first }}s and {{ second }}s, in one space: {{ origin }}, exported to ONNX in
{{ m.precision }} with zookit {{ m.versions.zookit }}.

## Use
{% if other %}
```
zoo predict DIR {{ example }} --labels "a cat,a dog"
```
{% endif %}
```python
from zoo.serve_pairs import OnnxPair   # numpy, onnxruntime and {{ packages }}; no torch

model = OnnxPair("DIR")
vectors = model.encode("{{ first }}", [model.decode("{{ first }}", item) for item in items])   # (n, D)
```

Without zoo:

| file | name | type | shape | meaning |
|---|---|---|---|---|
{% for t in tensors -%}
| `{{ t.file }}` | {{ t.name }} | {{ t.type }} | {{ t.shape }} | {{ t.meaning }} |
{% endfor %}
`vectors` have length 1, so products of them are cosines. {{ logits }}
{% for p in preprocessing %}
{{ p }}
{% endfor %}
## Measured

On {{ samples }}, from the raw inputs to the vectors:

| | torch (float32) | this export ({{ m.precision }}) |
|---|---|---|
{% if parity.score_name -%}
| {{ parity.score_name }} | {{ "%.4f" | format(parity.score_torch) }} | {{ "%.4f" | format(parity.score_onnx) }} |
{% endif -%}
{% for side, one in m.latency.items() -%}
| {{ side }}, batch 1, median | {{ "%.2f" | format(one.torch_ms) }} ms | {{ "%.2f" | format(one.onnx_ms) }} ms |
{% endfor %}
Same nearest item of the other side: {{ "%.2f" | format(100 * parity.agreement) }} %, both ways. Largest logit
difference: {{ "%.2g" | format(parity.max_logit_difference) }}. Latency on one CPU thread{{ tokens }}.
{% for note in m.notes %}
> {{ note }}
{% endfor %}
## Provenance

| | |
|---|---|
| model | `{{ m.model_id }}` (plugin {{ m.plugin }} {{ m.plugin_version }}) |
| {{ "starting weights" if m.data else "weights" }} | {{ weights }} |
{% if m.data -%}
| data | {{ m.data.name }}, fingerprint {{ m.data.fingerprint }} |
{% endif -%}
{% for name, digest in m.sha256.items() -%}
| `{{ name }}` | sha256 {{ digest }} |
{% endfor %}
## Limits

Scores of labels are relative to each other: inputs of none of the labels still get one. How often an answer is right
hangs on the words: `zoo evaluate DIR --data YOUR_DATA` measures it.
"""


def write_pair_card(meta: Mapping[str, Any]) -> str:
    """The card as Markdown, from the export's ``model.json``."""
    first, second = meta["modalities"]
    described = meta["preprocessing"]["parts"]
    other = next((one for one in meta["modalities"] if one != "text"), first) if "text" in described else ""
    packages = {"image": "pillow", "text": "tokenizers", "audio": "soundfile"}
    bias = f" + {meta['logit_bias']:.6g}" if meta["logit_bias"] else ""
    factor = f"{meta['logit_scale']:.6g}"
    logits = f"Logits are {factor} times the cosine{bias}."
    if "text" in described:
        logits += f" `scaled` has the factor in it: `vectors @ scaled.T{bias}`."
    weights = meta["weights_id"]
    template = Environment(autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True)
    parity = meta["parity"]
    drawn = f"{parity['samples']} drawn inputs of each side, of which nobody knows what belongs together"
    tokens = meta["latency"].get("text", {}).get("tokens")
    return template.from_string(_TEMPLATE).render(
        m=meta,
        modality=f"{first}-{second}",
        first=first,
        second=second,
        origin=origin_of(meta),
        other=other,
        example={"image": "image.jpg", "audio": "clip.wav"}.get(other, "FILE"),
        packages=" and ".join(packages.get(one, one) for one in (first, second)),
        tensors=[
            {**one, "file": f"{side}.onnx", "shape": " x ".join(map(str, one["shape"])), "meaning": _meaning(one, way)}
            for side in meta["modalities"]
            for way in ("inputs", "outputs")
            for one in meta["graphs"][side][way]
        ],
        logits=logits,
        preprocessing=[_prepared(side, described[side]) for side in meta["modalities"]],
        samples=f"{parity['samples']} validation pairs" if parity["data"] == "val" else drawn,
        parity=parity,
        tokens=f", for a text of {tokens} tokens" if tokens else "",
        weights=f"{weights}, sha256 {meta['weights_sha256']}" if meta["weights_sha256"] else weights,
    )


def _meaning(tensor: Mapping[str, Any], way: str) -> str:
    known = {
        "vectors": "output: vectors of length one",
        "scaled": "output: the same times the factor on cosines",
        "waveform": "input: sound of one channel, as below",
        "length": "input: real samples of each clip",
    }
    return known.get(tensor["name"], way.removesuffix("s"))


def _prepared(side: str, describe: Mapping[str, Any]) -> str:
    """How raw inputs of a side become the graph's, in a paragraph."""
    if side == "text":
        return (
            f"Texts: `tokenizer.json` (package `tokenizers`), at most {describe['max_length']} tokens with the special "
            "ones; longer texts are cut.\nShorter texts of a batch are padded at the end with id "
            f"{describe['pad']} and attention mask 0."
        )
    if side == "audio":
        return (
            f"Sounds: one channel at {describe['rate']} samples a second in -1 to 1, any length; shorter clips of a "
            "batch are padded at the end with zeros,\n`length` holds the real samples of each."
        )
    height, width = describe["resize"]
    how = f"the short side to {height}" if describe["crop_mode"] == "center" else f"to {width} x {height}"
    return (
        f"Images: resize {how} ({describe['interpolation']}, antialiased, {describe['crop_mode']}); centre crop "
        f"{describe['size'][2]} x {describe['size'][1]};\ndivide by 255; subtract {describe['mean']}; divide by "
        f"{describe['std']} ({describe['colour']})."
    )
