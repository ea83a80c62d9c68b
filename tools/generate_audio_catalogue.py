"""Write ``plugins/zoo_audio/catalogue.json``: one row a bundle of torchaudio for wav2vec 2.0, HuBERT or WavLM.

    python tools/generate_audio_catalogue.py            # rewrite the file (seconds)
    python tools/generate_audio_catalogue.py --check    # compare instead; exit 1 on drift

All but the places on the hub is read from :mod:`torchaudio.pipelines`; parameters are counted on torch's meta device,
so that no weights are downloaded.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torchaudio
from catalogue_file import write_or_compare
from torchaudio.pipelines import Wav2Vec2ASRBundle, Wav2Vec2Bundle

from zoo_audio.wav2vec_backbone import FACTORIES, WAVLM

FILE = Path(__file__).resolve().parent.parent / "plugins" / "zoo_audio" / "catalogue.json"
SCHEMA_VERSION = 1
SERVER = "https://download.pytorch.org/torchaudio/models/"

# Where the authors put the same training on the hub. Not named: what they did not, or did with self-training besides.
HUB = {
    "wav2vec2_base": "facebook/wav2vec2-base",
    "wav2vec2_large": "facebook/wav2vec2-large",
    "wav2vec2_large_lv60k": "facebook/wav2vec2-large-lv60",
    "wav2vec2_xlsr53": "facebook/wav2vec2-large-xlsr-53",
    "wav2vec2_xlsr_300m": "facebook/wav2vec2-xls-r-300m",
    "wav2vec2_xlsr_1b": "facebook/wav2vec2-xls-r-1b",
    "wav2vec2_xlsr_2b": "facebook/wav2vec2-xls-r-2b",
    "wav2vec2_asr_base_100h": "facebook/wav2vec2-base-100h",
    "wav2vec2_asr_base_960h": "facebook/wav2vec2-base-960h",
    "wav2vec2_asr_large_960h": "facebook/wav2vec2-large-960h",
    "hubert_base": "facebook/hubert-base-ls960",
    "hubert_large": "facebook/hubert-large-ll60k",
    "hubert_xlarge": "facebook/hubert-xlarge-ll60k",
    "hubert_asr_large": "facebook/hubert-large-ls960-ft",
    "hubert_asr_xlarge": "facebook/hubert-xlarge-ls960-ft",
    "wavlm_base": "microsoft/wavlm-base",
    "wavlm_base_plus": "microsoft/wavlm-base-plus",
    "wavlm_large": "microsoft/wavlm-large",
    **{
        f"voxpopuli_asr_base_10k_{language}": f"facebook/wav2vec2-base-10k-voxpopuli-ft-{language}"
        for language in ("de", "en", "es", "fr", "it")
    },
}
LICENCES = {"MIT": "mit", "CC BY-NC 4.0": "cc-by-nc-4.0"}
"""What torchaudio's documentation says, by SPDX name. The hub's own cards may say otherwise of the same training."""


def bundles() -> dict[str, Wav2Vec2Bundle]:
    """Every bundle by its name in snake case."""
    found = ((name, getattr(torchaudio.pipelines, name)) for name in dir(torchaudio.pipelines))
    return {name.lower(): bundle for name, bundle in found if isinstance(bundle, Wav2Vec2Bundle)}


def generate() -> dict[str, Any]:
    """The catalogue."""
    return {"schema_version": SCHEMA_VERSION, "models": [_row(name, bundle) for name, bundle in bundles().items()]}


def _row(name: str, bundle: Wav2Vec2Bundle) -> dict[str, Any]:
    config = {key: value for key, value in bundle._params.items() if key != "aux_num_out"}
    with torch.device("meta"):
        network = FACTORIES[bundle._model_type](**bundle._params)
    return {
        "name": name,
        "family": "wavlm" if bundle._model_type == WAVLM else "hubert" if name.startswith("hubert") else "wav2vec2",
        "network": bundle._model_type,
        "dim": config["encoder_embed_dim"],
        "layers": config["encoder_num_layers"],
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "rate": int(bundle.sample_rate),
        "normalise": bundle._normalize_waveform,
        "labels": bundle._params["aux_num_out"] or 0 if isinstance(bundle, Wav2Vec2ASRBundle) else 0,
        "url": bundle._path if bundle._path.startswith("https://") else SERVER + bundle._path,
        "hub": HUB.get(name, ""),
        "license": _licence(bundle.__doc__ or ""),
        "summary": _summary(bundle.__doc__ or ""),
        "config": config,
    }


def _licence(text: str) -> str:
    """The licence that a bundle's documentation names."""
    found = re.search(r"under\s+(?:the\s+)?\[?`?(MIT|CC[ -]BY-NC[ -]4\.0)", text)
    if found is None:
        raise ValueError(f"no licence in: {text}")
    return LICENCES[found[1].replace("CC-BY", "CC BY")]


def _summary(text: str) -> str:
    """The first paragraph of a bundle's documentation, without markup or the size, which other fields give."""
    plain = re.sub(r"\s*:cite:`[^`]*`|[*\"]|\s*\[[^\]]*\]", "", text.strip().split("\n\n")[0])
    return re.sub(r" \([^)]*architecture[^)]*\)", "", " ".join(plain.split())).replace("( ", "(")


def lines_of(catalogue: dict[str, Any]) -> Iterable[str]:
    """JSON with one model a line, so that a diff names what changed."""
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in catalogue["models"])
    yield f'{{"schema_version":{catalogue["schema_version"]},"models":[\n{rows}\n]}}\n'


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed file; exit 1 on drift")
    options = parser.parse_args(arguments)
    text = "".join(lines_of(generate()))
    return write_or_compare(FILE, text, options.check)


if __name__ == "__main__":
    sys.exit(main())
