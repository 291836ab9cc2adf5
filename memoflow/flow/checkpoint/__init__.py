"""@checkpoint: the decorator, what a task does with checkpoints, and who saves and loads them."""
