"""The pure parts of the benchmark: what they make of numbers."""
