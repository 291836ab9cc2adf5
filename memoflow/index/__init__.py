"""The index: this machine's memory of what the store holds."""
