"""Beam search over what a network trained with CTC says: the likeliest text, where greedy decoding reads the text of
the likeliest path. By torchaudio, whose decoder takes the package flashlight-text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from zoo.ctc import BLANK
from zoo.units import read
from zoo_registry.errors import MissingDependency, UsageError


def beam_texts(log_probs: Sequence[np.ndarray], labels: Sequence[str], beam: int) -> list[str]:
    """The likeliest text of each recording, summed over the paths that stand for it (Hannun et al., "First-pass large
    vocabulary continuous speech recognition using bi-directional recurrent DNNs", 2014), without a lexicon or a
    language model.

    Args:
        log_probs: (N, 1 + C) logits or log-probabilities, one array a recording.
        labels: the C units.
        beam: texts that are followed at once.

    Raises:
        UsageError: a beam below 1.
        MissingDependency: torchaudio or flashlight-text is not installed.
    """
    if beam < 1:
        raise UsageError(f"The beam is {beam}.", "Give a beam of 1 or more.")
    try:
        import flashlight.lib.text.decoder  # noqa: F401  # torchaudio says only that something is missing
        from torchaudio.models.decoder import ctc_decoder
    except ImportError as error:
        raise MissingDependency(
            f"Beam search needs a package that is not installed ({error.name}).",
            "pip install torchaudio flashlight-text",
        ) from None
    # Units may be any text, even that of a blank: numbers are names that cannot clash.
    names = [str(number) for number in range(len(labels) + 1)]
    decoder = ctc_decoder(
        lexicon=None,
        tokens=names,
        beam_size=beam,
        log_add=True,
        blank_token=names[BLANK],
        # A text begins as if with silence, and were that a unit, a text that begins with it would lose it.
        sil_token=names[BLANK],
    )
    texts = []
    for row in log_probs:
        emissions = torch.from_numpy(np.ascontiguousarray(row, np.float32)).log_softmax(dim=-1)
        best = decoder(emissions[None])[0][0]
        texts.append(read([int(token) - 1 for token in best.tokens], labels))
    return texts
