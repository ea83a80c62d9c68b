"""Pretraining objectives on images."""
