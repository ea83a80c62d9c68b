"""The curve of a learning-rate search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from zoo.report.charts import Series, line_chart

LEGEND = ("loss", "smoothed")


def lr_chart(search: Mapping[str, Any]) -> Markup:
    """Losses over log10 of the learning rate, of the fields of :class:`zoo.engine.find_lr.Search`. What broke away is
    cut off, or one could not see the rest."""
    rates: Sequence[float] = search["rates"]
    losses, smoothed = search["losses"], search["smoothed"]
    if not rates:
        return Markup("")
    top = smoothed[0] + 0.5 * (smoothed[0] - min(smoothed)) + 1e-9
    across = [math.log10(rate) for rate in rates]
    lines = [
        Series(name, across, [min(y, top) for y in ys]) for name, ys in zip(LEGEND, (losses, smoothed), strict=True)
    ]
    return line_chart("loss over learning rate", lines, x_label="log10 of the learning rate")
