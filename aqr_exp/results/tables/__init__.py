"""Tables of runs: what is in them, and the formats they are printed in."""
