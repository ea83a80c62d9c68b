"""Pretraining objectives over sound."""
