"""The variants of the detector, one folder each."""
