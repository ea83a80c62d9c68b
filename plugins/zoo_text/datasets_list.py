"""Text data sets known by name. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import DatasetSpec

DATASETS = (
    DatasetSpec(
        name="sst2",
        modality="text",
        task="classification",
        sources=("hf:stanfordnlp/sst2",),
        columns={"input": "sentence", "label": "label"},
        sample="zoo_text.sample:write_sst2",
        classes=2,
        homepage="https://nlp.stanford.edu/sentiment/",
        summary="Sentences of film reviews, positive or negative (Socher et al. 2013).",
    ),
    DatasetSpec(
        name="imdb",
        modality="text",
        task="classification",
        sources=("hf:stanfordnlp/imdb",),
        columns={"input": "text", "label": "label"},
        classes=2,
        homepage="https://ai.stanford.edu/~amaas/data/sentiment/",
        summary="50,000 whole film reviews, positive or negative (Maas et al. 2011).",
    ),
    DatasetSpec(
        name="ag_news",
        modality="text",
        task="classification",
        sources=("hf:fancyzhx/ag_news",),
        columns={"input": "text", "label": "label"},
        classes=4,
        summary="Short news items on four topics (Zhang et al. 2015).",
    ),
    DatasetSpec(
        name="wnut17",
        modality="text",
        task="token-classification",
        sources=("hf:leondz/wnut_17",),
        columns={"input": "tokens", "label": "ner_tags"},
        classes=13,
        license="cc-by-4.0",
        homepage="https://noisy-text.github.io/2017/emerging-rare-entities.html",
        summary="Rare and new names in social media, six kinds of entity (Derczynski et al. 2017).",
    ),
    DatasetSpec(
        name="squad",
        modality="text",
        task="question-answering",
        sources=("hf:rajpurkar/squad",),
        license="cc-by-sa-4.0",
        homepage="https://rajpurkar.github.io/SQuAD-explorer/",
        summary="100,000 questions on Wikipedia passages that hold the answer (Rajpurkar et al. 2016).",
    ),
)
