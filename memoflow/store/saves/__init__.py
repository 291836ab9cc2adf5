"""Saves: from files to blobs and a ref, and back."""
