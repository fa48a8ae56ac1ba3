"""The command line: one file a verb, one renderer that prints. Nothing is decided here."""
