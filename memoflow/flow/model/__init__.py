"""@model: the decorator, and what a task does with models."""
