"""Numbers and pictures of the method; only numpy is imported until a picture is drawn."""
