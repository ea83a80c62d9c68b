"""One thread for tiny tensors."""

from __future__ import annotations

from one_thread import one_thread  # noqa: F401
