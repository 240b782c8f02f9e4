"""Two arms side by side."""
