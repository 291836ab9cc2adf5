"""Mutations: what a step reads, one case a step, and a change of it that must miss or hit."""
