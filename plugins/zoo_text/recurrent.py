"""LSTM and GRU text networks with the variational dropout of Gal and Ghahramani (2016).

"A Theoretically Grounded Application of Dropout in Recurrent Neural Networks": one mask a sequence for the inputs of a
layer and one for its recurrent state, the same at every time step and for every gate, and word types that are dropped
from the whole sequence. B batch, N tokens, E width of a layer's input, H of its state, S directions (1 or 2).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec
from zoo_text.token_backbone import TokenBackbone, finish, rows

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


def build_recurrent(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    cell: str = "lstm",
    embedding: int = 256,
    dim: int = 256,
    layers: int = 1,
    bidirectional: bool = True,
    dropout: float = 0.25,
    embedding_dropout: float = 0.1,
    vocabulary: int | None = None,
) -> TokenBackbone:
    """Build a recurrent network; D is ``2 * dim`` where it reads in both directions.

    Args:
        input: its ``assets`` hold the tokenizer, whose size is the embedding table's unless ``vocabulary`` is given.
        state: of the module of a backbone built alike; None: random numbers.
        cell: ``"lstm"`` (Hochreiter and Schmidhuber, 1997) or ``"gru"`` (Cho et al., 2014).
        dim: H, of one direction.
        dropout: of the inputs and the recurrent state of each layer, and of the last layer's output.
        embedding_dropout: share of the word types dropped from a sequence.

    Raises:
        UsageError: no tokenizer, another cell, or a share of dropout outside [0, 1).
        WeightsError: ``state`` does not fit.
    """
    if cell not in CELLS:
        raise UsageError(f"There is no cell {cell!r}.", f"Choose {' or '.join(CELLS)}.")
    for share in (dropout, embedding_dropout):
        if not 0.0 <= share < 1.0:
            raise UsageError(f"A dropout of {share} is impossible.", "Give a value from 0 up to, not including, 1.")
    module = Recurrent(
        rows(input, vocabulary),
        cell=cell,
        embedding=embedding,
        dim=dim,
        layers=layers,
        bidirectional=bidirectional,
        dropout=dropout,
        embedding_dropout=embedding_dropout,
    )
    width = dim * (2 if bidirectional else 1)
    return finish(TokenBackbone(module, spec, input, dim=width, inputs=("input_ids", "attention_mask")), state)


class Recurrent(nn.Module):
    """ids (B, N), mask (B, N) with the padding at the end -> [(B, N, S * H)] after each layer, zero at padding."""

    def __init__(
        self,
        vocabulary: int,
        *,
        cell: str,
        embedding: int,
        dim: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
        embedding_dropout: float,
    ) -> None:
        super().__init__()
        self.embeddings = WordTypes(vocabulary, embedding, embedding_dropout)
        width = dim * (2 if bidirectional else 1)
        self.layers = nn.ModuleList(
            RecurrentLayer(cell, width if number else embedding, dim, bidirectional, dropout)
            for number in range(layers)
        )
        self.dropout = dropout

    def forward(self, ids: Tensor, mask: Tensor) -> list[Tensor]:
        x = self.embeddings(ids)
        backwards = reversal(mask)
        maps = []
        for layer in self.layers:
            x = layer(x, backwards) * mask[..., None]
            maps.append(x)
        if self.training and self.dropout:
            maps[-1] = x * keep(x.new_empty(x.shape[0], 1, x.shape[2]), self.dropout)
        return maps


class WordTypes(nn.Module):
    """Token embeddings of which whole word types are dropped while training, from all of a sequence at once."""

    def __init__(self, vocabulary: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim)
        self.dropout = dropout

    def forward(self, ids: Tensor) -> Tensor:
        """(B, N) -> (B, N, E)."""
        x = self.tokens(ids)
        if not (self.training and self.dropout):
            return x
        kept = keep(x.new_empty(len(ids), self.tokens.num_embeddings), self.dropout)
        return x * kept.gather(1, ids)[..., None]


class RecurrentLayer(nn.Module):
    """One layer in one or both directions; torch's own modules, ``forwards`` and ``backwards``, hold the weights.

    Their kernels do all the work unless the recurrent state is dropped: a mask a sample cannot be moved into the
    weights that all samples share, so the recurrence is then a loop over time, with the products of the inputs taken
    for all steps and both directions at once.
    """

    def __init__(self, cell: str, width: int, dim: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.cell, self.dim, self.dropout = cell, dim, dropout
        self.forwards = CELLS[cell](width, dim, batch_first=True)
        self.backwards = CELLS[cell](width, dim, batch_first=True) if bidirectional else None

    def forward(self, x: Tensor, backwards: Tensor) -> Tensor:
        """x (B, N, E), backwards as from :func:`reversal` -> (B, N, S * H); what stands at padding means nothing."""
        inputs = [x] if self.backwards is None else [x, reorder(x, backwards)]
        if self.training and self.dropout:
            direction, (batch, _, width) = len(inputs), x.shape
            input_mask = keep(x.new_empty(direction, batch, width), self.dropout)
            state_mask = keep(x.new_empty(direction, batch, self.dim), self.dropout)
            outputs = list(self.unroll(torch.stack(inputs), input_mask, state_mask))
        else:
            outputs = [rnn(part)[0] for rnn, part in zip(self.directions(), inputs, strict=True)]
        if self.backwards is not None:
            outputs[1] = reorder(outputs[1], backwards)
        return torch.cat(outputs, dim=-1)

    def directions(self) -> list[nn.RNNBase]:
        """The module of each direction."""
        return [self.forwards] if self.backwards is None else [self.forwards, self.backwards]

    def unroll(self, x: Tensor, input_mask: Tensor, state_mask: Tensor) -> Tensor:
        """The recurrence step by step: x (S, B, N, E) with masks (S, B, E) and (S, B, H) -> (S, B, N, H)."""
        step = lstm_step if self.cell == "lstm" else gru_step

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(rnn, name) for rnn in self.directions()])

        weight, recurrent = stacked("weight_ih_l0").transpose(1, 2), stacked("weight_hh_l0").transpose(1, 2)
        bias, recurrent_bias = stacked("bias_ih_l0")[:, None], stacked("bias_hh_l0")[:, None]
        inputs = torch.baddbmm(bias, (x * input_mask[:, :, None]).flatten(1, 2), weight).unflatten(1, x.shape[1:3])
        # Sums over many steps are kept in float32 whatever the products are taken in.
        hidden = memory = torch.zeros(state_mask.shape, dtype=torch.float32, device=x.device)
        outputs = []
        for gates in inputs.unbind(dim=2):
            product = torch.baddbmm(recurrent_bias, (hidden * state_mask).to(recurrent), recurrent)
            hidden, memory = step(gates.float(), product.float(), hidden, memory)
            outputs.append(hidden)
        return torch.stack(outputs, dim=2).to(x.dtype)


def lstm_step(inputs: Tensor, recurrent: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step from the two products (..., 4 H), gates in torch's order: input, forget, candidate, output."""
    entry, forget, candidate, output = (inputs + recurrent).chunk(4, dim=-1)
    memory = forget.sigmoid() * memory + entry.sigmoid() * candidate.tanh()
    return output.sigmoid() * memory.tanh(), memory


def gru_step(inputs: Tensor, recurrent: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One step from the two products (..., 3 H), gates in torch's order: reset, update, candidate. The state carried
    over by the update gate is not dropped: only the products see the mask."""
    entry, product = inputs.chunk(3, dim=-1), recurrent.chunk(3, dim=-1)
    reset, update = (entry[0] + product[0]).sigmoid(), (entry[1] + product[1]).sigmoid()
    candidate = (entry[2] + reset * product[2]).tanh()
    return (1 - update) * candidate + update * hidden, memory


def reversal(mask: Tensor) -> Tensor:
    """(B, N) positions that turn the real tokens of each row round and leave the padding at the end."""
    length = mask.sum(dim=1, keepdim=True)
    places = torch.arange(mask.shape[1], device=mask.device)[None]
    return torch.where(places < length, length - 1 - places, places)


def reorder(x: Tensor, places: Tensor) -> Tensor:
    """x (B, N, E) in the order of places (B, N)."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))


def keep(like: Tensor, dropout: float) -> Tensor:
    """A dropout mask in the shape of ``like``: 0 where dropped, ``1 / (1 - dropout)`` elsewhere."""
    return like.bernoulli_(1.0 - dropout).div_(1.0 - dropout)
