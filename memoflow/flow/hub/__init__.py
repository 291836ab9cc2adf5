"""@huggingface_hub: the decorator, a task's repositories, and requests to the Hub."""
