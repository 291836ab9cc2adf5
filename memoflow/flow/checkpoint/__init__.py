"""@checkpoint: the decorator and the saves and loads of a task."""
