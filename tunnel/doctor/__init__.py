"""Why does it not work? Facts are gathered once, pure checks look at them, and one verdict names what to type."""
