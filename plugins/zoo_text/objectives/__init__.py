"""Pretraining objectives over text."""
