"""``zoo embed``: vectors of whole collections, in a Parquet file."""

from zoo.embedding.run import embed

__all__ = ["embed"]
