"""Where runs execute, and what is checked and recorded before they do; knows no torch."""
