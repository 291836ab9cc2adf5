"""GC: removing what nobody needs, while others save."""
