"""Attention with a local or global bias, without a queries x keys matrix."""
