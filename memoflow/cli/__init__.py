"""Command line: verbs that print."""
