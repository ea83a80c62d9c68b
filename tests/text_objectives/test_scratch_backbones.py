"""The zoo's own text networks: padding changes nothing, the kernels equal the loop, the loop equals the paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from objective_toys import SPECS, TEXTS, backbone, batch_of, pipeline
from torch import Tensor, nn

from zoo.protocols import Backbone, DynamicAxes, LanguageModel
from zoo_registry.errors import UsageError, WeightsError
from zoo_registry.specs import InputSpec
from zoo_text.encoder import build_encoder
from zoo_text.recurrent import RecurrentLayer, build_recurrent, reorder, reversal

NAMES = ("transformer", "lstm", "gru")
MIXED = [TEXTS[3], TEXTS[0], TEXTS[6]]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_alone_and_padded_give_the_same(name: str) -> None:
    made = pipeline()
    network = backbone(made, name, layers=2).eval()
    together = network(made.prepare(batch_of(made, MIXED)), ("tokens",))
    for row, text in enumerate(MIXED):
        alone = network(made.prepare(batch_of(made, [text])), ("tokens",))
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.tokens[row, : alone.tokens.shape[1]], alone.tokens[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.tokens[0].mean(0), alone.pooled[0])


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    made = pipeline()
    network = backbone(made, name, layers=2)
    assert isinstance(network, Backbone)
    assert isinstance(network, LanguageModel)
    assert isinstance(network, DynamicAxes)
    assert network.vocabulary == made.tokens.vocabulary
    grouped = [key for _, members in network.layer_groups() for key, _ in members]
    assert sorted(grouped) == sorted(key for key, _ in network.named_parameters())
    assert [title for title, _ in network.layer_groups()][:3] == ["embeddings", "layers.0", "layers.1"]
    example = network.example_inputs(3)
    assert list(example) == list(network.dynamic_axes)
    features = network(example, ("pooled", "tokens", "layers"))
    assert features.pooled.shape == (3, network.dim)
    assert len(features.layers) == 2
    assert torch.equal(features.layers[-1], features.tokens)
    assert network(example).tokens is None


@pytest.mark.parametrize("name", NAMES)
def test_several_texts_a_sample(name: str) -> None:
    made = pipeline()
    network = backbone(made, name).eval()
    flat = made.prepare(batch_of(made, TEXTS[:6]))
    nested = {key: value.unflatten(0, (2, 3)) for key, value in flat.items()}
    features = network(nested, ("tokens",))
    assert features.pooled.shape == (2, 3, network.dim)
    assert torch.equal(features.pooled.flatten(0, 1), network(flat).pooled)


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_strictly(name: str) -> None:
    made = pipeline()
    network = backbone(made, name).eval()
    state = network.module.state_dict()
    batch = made.prepare(batch_of(made, MIXED))
    again = backbone(made, name, state=state).eval()
    assert torch.equal(network(batch).pooled, again(batch).pooled)
    lost = dict(list(state.items())[1:])
    with pytest.raises(WeightsError, match="missing"):
        backbone(made, name, state=lost)


@pytest.mark.parametrize("name", NAMES)
def test_learns(name: str) -> None:
    made = pipeline()
    network = backbone(made, name)
    head = nn.Linear(network.dim, 2)
    batch = made.prepare(batch_of(made, TEXTS[:16]))
    label = torch.tensor(["harbour" in text for text in TEXTS[:16]]).long()
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=0.01)
    for _ in range(60):
        loss = nn.functional.cross_entropy(head(network(batch).pooled), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_onnx_with_free_batch_and_sequence(name: str, tmp_path: Path) -> None:
    made = pipeline()
    network = backbone(made, name).eval()
    names = list(network.dynamic_axes)

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: Tensor) -> Tensor:
            return self.network(dict(zip(names, inputs, strict=True))).pooled

    axes = [torch.export.Dim("batch"), torch.export.Dim("sequence")]
    program = torch.onnx.export(
        Pooled().eval(),
        tuple(network.example_inputs(2).values()),
        dynamo=True,
        input_names=names,
        dynamic_shapes=(tuple(dict(enumerate(axes)) for _ in names),),
        opset_version=20,
        verbose=False,
    )
    program.save(str(tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for texts in (MIXED, TEXTS[:1], TEXTS[:5]):
        batch = made.prepare(batch_of(made, texts))
        (found,) = session.run(None, {key: batch[key].numpy() for key in names})
        np.testing.assert_allclose(found, network(batch).pooled.detach().numpy(), atol=1e-5)


def slow_layer(layer: RecurrentLayer, x: Tensor, length: int, input_mask: Tensor, state_mask: Tensor) -> Tensor:
    """One sample (N, E), one step and one gate at a time, after the equations of the paper; backwards from the real
    end. Masks (S, E) and (S, H)."""
    outputs = []
    for direction, rnn in enumerate(layer.directions()):
        hidden = memory = torch.zeros(layer.dim)
        rows = torch.zeros(len(x), layer.dim)
        for place in range(length) if direction == 0 else reversed(range(length)):
            seen, past = x[place] * input_mask[direction], hidden * state_mask[direction]
            ours = (rnn.weight_ih_l0 @ seen + rnn.bias_ih_l0).split(layer.dim)
            before = (rnn.weight_hh_l0 @ past + rnn.bias_hh_l0).split(layer.dim)
            if layer.cell == "lstm":
                entry, forget, candidate, output = (a + b for a, b in zip(ours, before, strict=True))
                memory = forget.sigmoid() * memory + entry.sigmoid() * candidate.tanh()
                hidden = output.sigmoid() * memory.tanh()
            else:
                reset, update = (ours[0] + before[0]).sigmoid(), (ours[1] + before[1]).sigmoid()
                hidden = (1 - update) * (ours[2] + reset * before[2]).tanh() + update * hidden
            rows[place] = hidden
        outputs.append(rows)
    return torch.cat(outputs, dim=-1)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_loop_and_kernels_equal_the_slow_reference(cell: str, both: bool, dropout: float) -> None:
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, 5, 4, both, dropout)
    length = torch.tensor([6, 1, 4])
    mask = torch.arange(6)[None] < length[:, None]
    x, backwards, directions = torch.randn(3, 6, 5), reversal(mask), 2 if both else 1
    shape = (torch.full((directions, 3, width), 1 - dropout) for width in (5, 4))
    input_mask, state_mask = (torch.bernoulli(keep) / (1 - dropout) for keep in shape)
    inputs = torch.stack([x, reorder(x, backwards)][:directions])
    outputs = list(layer.unroll(inputs, input_mask, state_mask))
    if both:
        outputs[1] = reorder(outputs[1], backwards)
    unrolled = torch.cat(outputs, dim=-1) * mask[..., None]
    for row in range(3):
        expected = slow_layer(layer, x[row], int(length[row]), input_mask[:, row], state_mask[:, row])
        torch.testing.assert_close(unrolled[row], expected, atol=1e-6, rtol=0)
    if not dropout:
        kernels = layer.eval()(x, backwards) * mask[..., None]
        torch.testing.assert_close(unrolled, kernels, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_one_mask_a_sequence_at_every_step(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = RecurrentLayer(cell, 5, 4, True, 0.5).train()
    seen = []
    unroll = layer.unroll
    monkeypatch.setattr(layer, "unroll", lambda *arguments: (seen.append(arguments[1:]), unroll(*arguments))[1])
    x = torch.randn(64, 3, 5)
    layer(x, reversal(torch.ones(64, 3, dtype=torch.bool)))
    input_mask, state_mask = seen[0]
    assert input_mask.shape == (2, 64, 5)
    assert state_mask.shape == (2, 64, 4)
    for mask in seen[0]:
        assert set(mask.unique().tolist()) == {0.0, 2.0}
        assert abs(float(mask.mean()) - 1) < 0.2
        assert not torch.equal(mask[:, 0], mask[:, 1])


def test_a_word_type_is_dropped_from_the_whole_sequence() -> None:
    made = pipeline()
    table = backbone(made, "lstm", embedding_dropout=0.5).module.embeddings.train()
    nn.init.ones_(table.tokens.weight)
    ids = torch.randint(5, 12, (200, 20))
    x = table(ids)[..., 0]
    for row in range(200):
        for token in ids[row].unique():
            values = x[row][ids[row] == token].unique()
            assert values.tolist() in ([0.0], [2.0])
    assert len({tuple(row.tolist()) for row in (x > 0)}) > 100
    assert 0.8 < float(x.detach().mean()) < 1.2
    assert torch.equal(table.eval()(ids)[..., 0], torch.ones(200, 20))


def test_dropout_repeats_with_the_seed_and_is_off_in_evaluation() -> None:
    made = pipeline()
    network = backbone(made, "lstm", dropout=0.3, embedding_dropout=0.2)
    batch = made.prepare(batch_of(made, MIXED))

    def once(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return network(batch).pooled

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))
    network.eval()
    assert torch.equal(once(1), once(2))


def test_bad_settings() -> None:
    made = pipeline()
    with pytest.raises(UsageError, match="heads"):
        backbone(made, heads=3)
    with pytest.raises(UsageError, match="cell"):
        build_recurrent(SPECS["lstm"], made.input, cell="rnn")
    with pytest.raises(UsageError, match="dropout"):
        backbone(made, "gru", dropout=1.0)
    with pytest.raises(UsageError, match="512"):
        build_encoder(SPECS["transformer"], InputSpec(modality="text", size=(600,)), vocabulary=10)
    with pytest.raises(UsageError, match="tokenizer"):
        build_encoder(SPECS["transformer"], InputSpec(modality="text", size=(60,)))
