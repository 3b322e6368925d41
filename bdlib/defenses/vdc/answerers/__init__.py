"""Answerers."""
