"""Cards: what an attempt loaded and saved, and the page that shows it."""
