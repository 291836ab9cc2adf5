"""Functions: results of plain functions, kept and found like those of steps, without a flow."""
