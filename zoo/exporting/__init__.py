"""``zoo export``: a trained run as an ONNX model that is measured before it is handed over."""

from zoo.exporting.bundle import ExportResult, export

__all__ = ["ExportResult", "export"]
