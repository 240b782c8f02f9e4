"""What a person types: one module a command, thin, with heavy imports inside."""
