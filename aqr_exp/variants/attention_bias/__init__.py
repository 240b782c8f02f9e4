"""The local attention bias."""
