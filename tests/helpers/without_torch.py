"""A pytest plugin, `-p without_torch`: importing torch fails, as where the training extra is missing."""

import sys

sys.modules["torch"] = None  # type: ignore[assignment]
