"""Page: one HTML file that needs nothing else, for cards and the report; tables in Markdown."""
