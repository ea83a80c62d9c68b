"""open_clip's models behind the zoo's protocols, against open_clip's own encoders."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from clip_toys import HUGGING, PADS, contract, record, shrunk, some_images, some_texts
from open_clip.tokenizer import SimpleTokenizer
from torch.nn import functional as F

from zoo.protocols import Backbone, DualEncoder, DynamicAxes, LanguageModel
from zoo_multimodal.clip_backbone import ClipBackbone, build_clip, build_image_tower, build_text_tower
from zoo_multimodal.clip_tokenizer import clip_text_pipeline
from zoo_registry.errors import UsageError, WeightsError
from zoo_registry.specs import InputSpec

FAST = ("vit", "clipa", "resnet", "coca", "siglip", "metaclip2", *HUGGING)


def made(family: str, vocabulary: int = 600) -> ClipBackbone:
    torch.manual_seed(0)
    config = shrunk(family, vocabulary)
    input = contract(config)
    return build_clip(record(input), input, config=config, pad=PADS.get(family, 0)).eval()


def words(family: str) -> int:
    return 500 if family in HUGGING else 600


@pytest.mark.parametrize("family", FAST)
@torch.no_grad()
def test_vectors_are_open_clips_own(family: str) -> None:
    pair = made(family)
    images, texts = some_images(3, pair.input), some_texts(5, 9, words(family))
    own = {} if family != "coca" else {"normalize": False}
    padded = torch.where(texts["attention_mask"].bool(), texts["input_ids"], pair.towers["text"].pad)
    context = pair.towers["text"].context or 9
    padded = F.pad(padded, (0, context - 9), value=pair.towers["text"].pad)
    expected = {
        "image": pair.module.encode_image(images["image"], **own),
        "text": pair.module.encode_text(padded, **own),
    }
    for modality, batch in (("image", images), ("text", texts)):
        vectors = pair.towers[modality](batch).pooled
        torch.testing.assert_close(vectors, expected[modality], atol=1e-6, rtol=1e-5)
        unit = pair.encode(modality, batch)
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(len(unit)))
        torch.testing.assert_close(unit, F.normalize(expected[modality], dim=-1), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_from_texts_to_vectors_as_open_clip() -> None:
    """Its own tokenizer, its own padding to 77, its own encoder."""
    config = shrunk("vit", 49408)
    config["text_cfg"]["context_length"] = 77
    input = contract(config)
    pair = build_clip(record(input), input, config=config).eval()
    texts = ["a photo of a cat", "two dogs; they're RUNNING through the café", "word " * 200]
    pipeline: Any = clip_text_pipeline(input.parts[1])
    arrays = [pipeline.decode(text) for text in texts]
    batch = {name: torch.from_numpy(array) for name, array in pipeline.tokens.model_inputs(arrays).items()}
    expected = pair.module.encode_text(SimpleTokenizer()(texts))
    torch.testing.assert_close(pair.towers["text"](batch).pooled, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAST)
@torch.no_grad()
def test_a_text_has_one_vector_however_it_is_padded(family: str) -> None:
    tower = made(family).towers["text"]
    batch = some_texts(6, 12, words(family))
    together = tower(batch).pooled
    for row in range(6):
        real = int(batch["attention_mask"][row].sum())
        alone = {name: tensor[row : row + 1, :real] for name, tensor in batch.items()}
        torch.testing.assert_close(tower(alone).pooled[0], together[row], atol=1e-6, rtol=1e-5)
    anything = torch.where(batch["attention_mask"].bool(), batch["input_ids"], 7)
    torch.testing.assert_close(tower({**batch, "input_ids": anything}).pooled, together)


@torch.no_grad()
def test_separators_that_clipa_never_saw() -> None:
    config = shrunk("clipa")
    input = contract(config)
    tower = build_text_tower(record(input), input.parts[1], config=config, drop=102).eval()
    batch = some_texts(1, 6)
    ended = batch["input_ids"].clone()
    ended[0, 2] = 102
    blank = torch.where(ended == 102, 0, ended)
    ones = torch.ones_like(ended)
    given = tower({"input_ids": ended, "attention_mask": ones}).pooled
    torch.testing.assert_close(given, tower({"input_ids": blank, "attention_mask": ones}).pooled)
    other = torch.where(ended == 102, 5, ended)
    assert (given - tower({"input_ids": other, "attention_mask": ones}).pooled).abs().max() > 1e-4


@pytest.mark.parametrize("family", FAST)
@torch.no_grad()
def test_a_tower_alone_is_the_pairs(family: str) -> None:
    pair = made(family)
    spec, (image, text) = record(pair.input), pair.input.parts
    config, state = shrunk(family), pair.module.state_dict()
    pad = PADS.get(family, 0)
    towers = {
        "image": build_image_tower(spec, image, None, state, config=config).eval(),
        "text": build_text_tower(spec, text, None, state, config=config, pad=pad).eval(),
    }
    batches = {"image": some_images(2, pair.input), "text": some_texts(3, 7, words(family))}
    for modality, tower in towers.items():
        torch.testing.assert_close(tower(batches[modality]).pooled, pair.towers[modality](batches[modality]).pooled)
        # What a run of the tower saved is its own module's.
        again = type(pair.towers[modality])
        build = build_image_tower if modality == "image" else build_text_tower
        extra: dict[str, Any] = {} if modality == "image" else {"pad": pad}
        part = image if modality == "image" else text
        loaded = build(spec, part, None, tower.module.state_dict(), config=config, **extra).eval()
        assert isinstance(loaded, again)
        torch.testing.assert_close(loaded(batches[modality]).pooled, tower(batches[modality]).pooled)
    assert sum(p.numel() for t in towers.values() for p in t.parameters()) < sum(p.numel() for p in pair.parameters())


@pytest.mark.parametrize("family", FAST)
def test_each_parameter_stands_in_one_group(family: str) -> None:
    pair = made(family)
    learning = {name for name, parameter in pair.named_parameters() if parameter.requires_grad}
    groups = pair.layer_groups()
    names = [name for _, members in groups for name, _ in members]
    assert sorted(names) == sorted(learning)
    assert all(dict(pair.named_parameters())[name] is p for _, members in groups for name, p in members)
    titles = [title for title, _ in groups]
    assert len(set(titles)) == len(titles)
    assert titles[0] == "image.embeddings"
    assert titles[-1] == "logits"
    assert titles.index("image.final") < titles.index("text.embeddings") < titles.index("text.final")
    for modality, tower in pair.towers.items():
        own = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
        assert sorted(name for _, members in tower.layer_groups() for name, _ in members) == sorted(own)
        shared = {id(p) for p in tower.parameters()} & {id(p) for p in pair.parameters()}
        assert len(shared) == len(list(tower.parameters())), modality


def test_groups_go_from_the_input_to_the_output() -> None:
    groups = dict(made("vit").layer_groups())
    assert {"module.visual.conv1.weight", "module.visual.ln_pre.weight"} <= {n for n, _ in groups["image.embeddings"]}
    assert {n for n, _ in groups["image.final"]} == {
        "module.visual.proj",
        "module.visual.ln_post.weight",
        "module.visual.ln_post.bias",
    }
    assert {n for n, _ in groups["text.embeddings"]} == {
        "module.token_embedding.weight",
        "module.positional_embedding",
    }
    assert all(n.startswith("module.transformer.resblocks.1.") for n, _ in groups["text.layer.1"])
    assert "module.text_projection" in {n for n, _ in groups["text.final"]}
    stages = [title for title, _ in made("resnet").layer_groups() if title.startswith("image.")]
    assert stages == ["image.embeddings", *(f"image.layer.{i}" for i in range(5)), "image.final"]


def test_protocols() -> None:
    pair = made("siglip")
    assert isinstance(pair, DualEncoder)
    assert isinstance(pair, Backbone)
    assert all(isinstance(tower, Backbone) for tower in pair.towers.values())
    assert isinstance(pair.towers["text"], LanguageModel)
    assert isinstance(pair.towers["text"], DynamicAxes)
    assert pair.modalities == ("image", "text")
    assert float(pair.logit_bias.detach()) == -10  # type: ignore[union-attr]
    assert made("vit").logit_bias is None
    assert pair.logit_scale.shape == ()


@torch.no_grad()
def test_pairs_in_pairs_out() -> None:
    pair = made("vit")
    images, texts = some_images(3, pair.input), some_texts(3, 7)
    batch = {"image.image": images["image"], **{f"text.{name}": tensor for name, tensor in texts.items()}}
    pooled = pair({**batch, "index": torch.arange(3)}).pooled
    torch.testing.assert_close(pooled[:, 0], pair.encode("image", images))
    torch.testing.assert_close(pooled[:, 1], pair.encode("text", texts))
    assert pair(pair.example_inputs(4)).pooled.shape == (4, 2, pair.dim)


@pytest.mark.parametrize("family", FAST)
@torch.no_grad()
def test_tokens_grid_and_layers(family: str) -> None:
    pair = made(family)
    images, texts = some_images(2, pair.input), some_texts(3, 7, words(family))
    seen = pair.towers["image"](images, ("pooled", "tokens", "grid", "layers"))
    torch.testing.assert_close(seen.pooled, pair.towers["image"](images).pooled)
    assert seen.layers
    if family == "coca":
        assert seen.tokens is not None
        torch.testing.assert_close(seen.tokens, pair.module._encode_image(images["image"])[1])
    else:
        assert seen.grid is not None
        assert seen.tokens.shape[1] == seen.grid[0] * seen.grid[1]  # type: ignore[union-attr]
        assert seen.layers[-1].shape[:2] == seen.tokens.shape[:2]  # type: ignore[union-attr]
    read = pair.towers["text"](texts, ("pooled", "tokens", "layers"))
    assert read.tokens.shape[:2] == (3, 7)  # type: ignore[union-attr]
    assert len(read.layers) == 2  # type: ignore[arg-type]
    assert read.mask.tolist() == texts["attention_mask"].bool().tolist()  # type: ignore[union-attr]
    plain = pair.towers["text"](texts)
    assert (plain.tokens, plain.layers) == (None, None)


@torch.no_grad()
def test_several_texts_a_sample() -> None:
    tower = made("vit").towers["text"]
    flat = some_texts(6, 7)
    sets = {name: tensor.unflatten(0, (2, 3)) for name, tensor in flat.items()}
    torch.testing.assert_close(tower(sets).pooled.flatten(0, 1), tower(flat).pooled)


def test_gradients_reach_both_towers_through_one_module() -> None:
    pair = made("vit").train()
    loss = (pair.encode("image", some_images(2, pair.input)) * pair.encode("text", some_texts(2, 6))).sum()
    loss.backward()
    missing = [n for n, p in pair.named_parameters() if p.grad is None and n != "module.logit_scale"]
    assert missing == []


@torch.no_grad()
def test_a_copy_is_a_pair_of_its_own() -> None:
    pair = made("vit")
    twin = copy.deepcopy(pair)
    before = pair.towers["text"](some_texts(2, 6)).pooled
    for parameter in twin.parameters():
        parameter.zero_()
    torch.testing.assert_close(pair.towers["text"](some_texts(2, 6)).pooled, before)
    assert twin.towers["text"](some_texts(2, 6)).pooled.abs().max() == 0
    assert twin.towers["image"](some_images(2, twin.input)).pooled.abs().max() == 0


@pytest.mark.parametrize("family", ["vit", "siglip", "coca", "roberta"])
def test_checkpointing_changes_nothing_but_memory(family: str) -> None:
    pair = made(family).train()
    texts = some_texts(2, 6, words(family))

    def gradient() -> torch.Tensor:
        pair.zero_grad()
        torch.manual_seed(0)
        pair.encode("text", texts)[:, 0].sum().backward()
        return next(p.grad for n, p in pair.named_parameters() if p.grad is not None and "weight" in n).clone()  # type: ignore[union-attr]

    plain = gradient()
    pair.set_grad_checkpointing()
    torch.testing.assert_close(gradient(), plain)
    pair.set_grad_checkpointing(False)


def test_coca_starts_from_numbers() -> None:
    """open_clip leaves its decoder's last layer as the memory was."""
    torch.manual_seed(0)
    config = shrunk("coca")
    projection = [
        build_clip(record(contract(config)), contract(config), config=config).module.text_decoder.text_projection
        for _ in range(2)
    ]
    assert all(0.1 < float(one.detach().std()) < 0.3 for one in projection)
    assert projection[0].shape == (32, 600)


def test_too_long_and_unknown() -> None:
    config = shrunk("vit")
    input = contract(config)
    long = InputSpec(modality="image-text", parts=(input.parts[0], InputSpec(modality="text", size=(17,))))
    with pytest.raises(UsageError, match="at most 16 tokens"):
        build_clip(record(long), long, config=config)
    with pytest.raises(UsageError, match="no model ViT-B-33"):
        build_clip(record(input), input, config="ViT-B-33")
    config["text_cfg"] = {"hf_model_name": "org/unheard-of", "hf_pooler_type": "mean_pooler"}
    with pytest.raises(WeightsError, match=r"unheard-of .*config\.json"):
        build_clip(record(input), input, config=config)
