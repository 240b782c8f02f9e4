"""The ground floor: atomic writes, checksums, caches, array files and suggestions."""
