"""The model card of an export: what it is, how to use it, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

from zoo.serve_audio import BY_FRAME

_TEMPLATE = """\
---
library_name: onnx
tags: [onnx, zookit, {{ m.task }}]
---

# {{ m.model_id }} for {{ subject }}

{{ kind }}, {{ origin }}, exported to ONNX in
{{ m.precision }} with zookit {{ m.versions.zookit }}.
{% if m.labels %}
**Labels** ({{ m.labels | length }}): {{ shown }}
{% endif %}
{%- if m.zero_shot is defined %}
The labels stand in the graph as what the text tower makes of them in {{ m.zero_shot.templates | length }} \
sentence{{ "s" if m.zero_shot.templates | length > 1 }} each: {{ templates }}.
Scores are a softmax over these labels.
{% endif %}
## Use

```
zoo predict DIR {{ use.argument }}
```

```python
from zoo.serve_model import OnnxModel   # numpy, {{ use.package }} and onnxruntime; no torch

model = OnnxModel("DIR")
{{ use.call }}
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
{%- elif p.kind == "text" -%}
Tokenisation: `tokenizer.json` (package `tokenizers`), at most {{ p.max_length }} tokens with the special ones; longer
texts are cut{{ use.windows }}. Shorter texts of a batch are padded at the end with id {{ p.pad }} and attention mask 0.
{%- elif p.kind == "audio" -%}
Sound: one channel at {{ p.rate }} samples a second in -1 to 1 (the mean of the channels, resampled; 16-bit samples
divided by 32768), any length. Shorter clips of a batch are padded at the end with zeros; `length` holds the real
samples of each. Spectra and normalisation are inside the graph.{{ long }}
{%- elif p.kind == "image" -%}
Preprocessing: {{ resize }}; centre crop {{ p.size[2] }} x {{ p.size[1] }}; divide by 255; subtract {{ p.mean }};
divide by {{ p.std }} ({{ p.colour }}).
{%- endif %}

## Measured

On {{ parity.samples }} {{ samples }}, from the raw files to the answer:

| | torch (float32) | this export ({{ m.precision }}) |
|---|---|---|
{% if parity.score_name -%}
| {{ parity.score_name }} | {{ "%.4f" | format(parity.score_torch) }} | {{ "%.4f" | format(parity.score_onnx) }} |
{% endif -%}
| latency, batch 1, median | {{ "%.2f" | format(latency.torch_ms) }} ms | {{ "%.2f" | format(latency.onnx_ms) }} ms |

Same answer: {{ "%.2f" | format(100 * parity.agreement) }} %. \
Largest logit difference: {{ "%.2g" | format(parity.max_logit_difference) }}. \
Latency on one CPU thread{{ ", preprocessing included" if m.preprocess == "graph" }}\
{{ ", for a text of %d tokens" | format(latency.tokens) if latency.tokens }}\
{{ ", for a clip of %.2f s" | format(latency.seconds) if latency.seconds }}.
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
{% if m.data -%}
| data | {{ m.data.name }}, fingerprint {{ m.data.fingerprint }} |
{% endif -%}
{% for name, digest in m.sha256.items() -%}
| `{{ name }}` | sha256 {{ digest }} |
{% endfor %}
## Limits

{{ limits }}
"""

_KIND = {
    "classification": "{} classifier",
    "multi-label": "{} classifier of any number of labels",
    "regression": "{} regression model",
    "token-classification": "A tagger of words",
    "question-answering": "A reader that finds answers to questions in a text",
    "embedding": "{} embedding model",
    "generation": "A language model",
    "transcription": "A speech recogniser (CTC)",
    "frame-classification": "A classifier of stretches of sound",
    "speaker-verification": "A model of voices: it tells whether two recordings are of one speaker",
}
_USE = {
    "image": {
        "argument": "image.jpg",
        "package": "pillow",
        "call": 'model.predict(["image.jpg"])            # [{"label": ..., "score": ..., "scores": {...}}]',
        "others": "cameras, places or populations",
        "windows": "",
    },
    "text": {
        "argument": '"some text"',
        "package": "tokenizers",
        "call": 'model.predict(["some text"])            # [{"label": ..., "score": ..., "scores": {...}}]',
        "others": "authors, subjects or languages",
        "windows": "",
    },
    "audio": {
        "argument": "clip.wav",
        "package": "soundfile",
        "call": 'model.predict(["clip.wav"])             # [{"label": ..., "score": ..., "scores": {...}}]',
        "others": "microphones, rooms or speakers",
        "windows": "",
    },
}
_TASK_USE = {
    "question-answering": {
        "argument": '"a question" --pair "the text that answers it"',
        "call": 'model.predict([{"id": "1", "question": "...", "context": "..."}])   # [{"label": ..., "score": ...}]',
        "windows": " into windows that overlap, and the best answer of all windows is given",
    },
    "generation": {
        "argument": '"how it begins" --max-new-tokens 50',
        "call": 'model.generate(["how it begins"], max_new_tokens=50)   # how each text goes on',
    },
}
_OUTPUTS = {
    "regression": "values",
    "token-classification": "probabilities for each token, in the order of the labels",
    "question-answering": "probabilities of each token as the first and as the last of the answer",
    "embedding": "vectors of length one",
    "speaker-verification": "vectors of length one; the cosine of two tells how alike the voices are",
    "transcription": "probabilities for each frame: of the blank, then of the labels in their order",
    "frame-classification": "probabilities for each frame, in the order of the labels",
}


def write_card(meta: Mapping[str, Any]) -> str:
    """The card as Markdown, from the export's ``model.json``."""
    labels = [f"`{label}`" for label in meta["labels"]]
    shown = ", ".join(labels[:50]) + (f" … and {len(labels) - 50} more (model.json)" if len(labels) > 50 else "")
    preprocessing = meta["preprocessing"]
    scores = _OUTPUTS.get(meta["task"], "probabilities, in the order of the labels")
    logits = "of the token that follows each text" if meta["task"] == "generation" else ""
    sound = preprocessing.get("kind") == "audio"
    meanings = {
        "waveform": "input: sound of one channel, as below",
        "length": "input: real samples of each clip",
        "logits": f"output {logits}".strip(),
        "scores": f"output: {scores}",
        "frames": "output: how many frames of each clip are real",
    }
    tensors = [
        {**one, "shape": " x ".join(map(str, one["shape"])), "meaning": meanings.get(one["name"], "input")}
        for one in [*meta["onnx_inputs"], *meta["onnx_outputs"]]
    ]
    modality = str(preprocessing.get("kind", "image"))
    article = "An image" if modality == "image" else "A sound" if sound else f"A {modality}"
    use = {**_USE.get(modality, _USE["image"]), **_TASK_USE.get(meta["task"], {})}
    metrics = ", ".join(f"{k} {v:.4g}" for k, v in meta["metrics"].items() if isinstance(v, int | float))
    template = Environment(autoescape=False, undefined=StrictUndefined, keep_trailing_newline=True)
    return template.from_string(_TEMPLATE).render(
        m=meta,
        p=preprocessing,
        subject=shown if "zero_shot" in meta else meta["data"]["name"],
        origin=origin_of(meta),
        samples="validation samples" if meta["parity"]["data"] == "val" else "drawn samples, whose truth nobody knows",
        templates=", ".join(f"`{one}`" for one in meta.get("zero_shot", {}).get("templates", ())),
        kind=_KIND.get(meta["task"], "{} model").format(article),
        long=_long(meta),
        use=use,
        limits=_limits(meta, use["others"]),
        shown=shown,
        tensors=tensors,
        parity=meta["parity"],
        latency={"tokens": 0, "seconds": 0, **meta["latency"]},
        metrics=metrics,
        resize=_resize(preprocessing),
    )


def _limits(meta: Mapping[str, Any], others: str) -> str:
    task = meta["task"]
    if "zero_shot" in meta:
        told = ["The classifier has seen no labelled example, so nothing is known of how often it is right"]
    else:
        name = meta["data"]["name"]
        told = [f"The figures hold for data like {name}; other {others} need a measurement of their own"]
    if task == "generation":
        told[0] += "."
        told.append(
            "The graph keeps nothing from token to token (no key-value cache): each new token reads the whole text "
            "again, so the time of a continuation grows with the square of its length. Decoding is greedy."
        )
    else:
        told[0] += ":\n`zoo evaluate DIR --data YOUR_DATA`."
    if meta["labels"] and task not in ("token-classification", "transcription", "speaker-verification"):
        told.append("Inputs of none of the labels still get one.")
    kind = meta["preprocessing"].get("kind")
    if meta["precision"] == "int8" and kind in ("text", "audio") and "calibration" not in meta:
        told.append(
            "Dynamic int8 scales a batch by its largest value: for the same answer whatever its neighbours, give the "
            f"graph one {'text' if kind == 'text' else 'clip'} at a time, as `OnnxModel` does."
        )
    return " ".join(told)


def _long(meta: Mapping[str, Any]) -> str:
    """What `OnnxModel` does with recordings that are longer than the network heard in training."""
    limit = meta["input"].get("seconds")
    if meta["preprocessing"].get("kind") != "audio" or not limit:
        return ""
    if meta["task"] in BY_FRAME:
        how = "are cut in their pauses, without overlap, and the frames of the parts put one after another"
    else:
        how = "are heard in windows of that length that cover them, and the logits of the windows averaged"
    return f" Recordings longer than {limit:g} s\n{how}; `OnnxModel` does so."


def origin_of(meta: Mapping[str, Any]) -> str:
    """Where the weights come from, in a clause."""
    weights, data = meta["weights_id"], meta.get("data")
    if not data:
        return f"with the weights `{weights}`"
    pretrained = "objective" in meta or "zero_shot" in meta
    started = "trained from random weights"
    if weights not in (None, "none"):
        started = f"{'trained on' if pretrained else 'finetuned'} from `{weights}`"
    return f"{started} on {data['name']} ({data['origin']})"


def _resize(preprocessing: Mapping[str, Any]) -> str:
    height, width = preprocessing.get("resize", (0, 0))
    if preprocessing.get("crop_mode") == "center":
        return f"resize the short side to {height} ({preprocessing['interpolation']}, antialiased)"
    return f"resize to {width} x {height} ({preprocessing.get('crop_mode')}, {preprocessing.get('interpolation')})"
