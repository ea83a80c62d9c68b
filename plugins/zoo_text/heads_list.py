"""The text plugin's heads. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import HeadSpec

HEADS: tuple[HeadSpec, ...] = (
    HeadSpec(
        name="token-classification",
        builder="zoo_text.token_head:TokenClassificationHead",
        task="token-classification",
        modalities=("text",),
        uses=("tokens",),
        view="zoo_text.windows:word_view",
        summary="A linear layer on every token, read at the first of each word: entities, parts of speech.",
    ),
    HeadSpec(
        name="question-answering",
        builder="zoo_text.span_head:SpanHead",
        task="question-answering",
        modalities=("text",),
        uses=("tokens",),
        view="zoo_text.windows:qa_view",
        summary="First and last token of the answer in overlapping windows of a context.",
    ),
    HeadSpec(
        name="embedding",
        builder="zoo_text.embedding_head:EmbeddingHead",
        task="embedding",
        modalities=("text",),
        uses=("pooled",),
        view="zoo_text.groups_view:groups_view",
        summary="Unit vectors; texts that belong together find each other among the others of a batch.",
    ),
    HeadSpec(
        name="generation",
        builder="zoo_text.generation_head:GenerationHead",
        task="generation",
        modalities=("text",),
        uses=("lm",),
        view="zoo_text.generation_view:generation_view",
        summary="A causal model's own next-token logits, on texts or on the completions of prompts.",
    ),
)
