"""Random numbers that wav2vec 2.0 and its relatives can be pretrained from, as fairseq draws them."""

from __future__ import annotations

import math

from torch import nn
from torchaudio.models.wav2vec2.components import ConvLayerBlock, ConvolutionalPositionalEmbedding

LINEAR_STD = 0.02


def initialise(module: nn.Module) -> None:
    """Convolutions after He et al. 2015, the positional one with a standard deviation of sqrt(4 / (kernel * width)),
    linear layers and tables as BERT's (https://github.com/facebookresearch/fairseq, wav2vec2.py). torchaudio leaves
    networks as ``torch.nn`` makes them."""
    for part in module.modules():
        if isinstance(part, ConvLayerBlock):
            nn.init.kaiming_normal_(part.conv.weight)
        elif isinstance(part, ConvolutionalPositionalEmbedding):
            # The direction of a weight-normalised weight; its norm follows from what is drawn.
            part.conv.weight = nn.init.normal_(
                part.conv.weight.detach().clone(), std=math.sqrt(4 / (part.kernel_size * part.embed_dim))
            )
            nn.init.zeros_(part.conv.bias)
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=LINEAR_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=LINEAR_STD)
        elif isinstance(part, nn.MultiheadAttention):
            nn.init.normal_(part.in_proj_weight, std=LINEAR_STD)
