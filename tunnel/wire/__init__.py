"""Bytes <-> values: layouts only, no policy."""
