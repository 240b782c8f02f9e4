"""Tables, figures and data frames of stored runs."""
