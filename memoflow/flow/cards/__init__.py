"""Cards: the loads and saves of an attempt, and the page that shows them."""
