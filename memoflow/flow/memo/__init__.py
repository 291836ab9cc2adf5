"""@memoize: the decorator, the scheduler's and the worker's side of it, and its flags."""
