"""The command line: thin modules, each imported when its command is used."""
