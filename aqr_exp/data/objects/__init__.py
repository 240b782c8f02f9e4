"""Ground-truth sampling: objects cut out of the training split, and pasted into other samples."""
