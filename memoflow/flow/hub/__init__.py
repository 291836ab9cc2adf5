"""@huggingface_hub: the decorator, what a task does with repositories, and how the Hub is asked."""
