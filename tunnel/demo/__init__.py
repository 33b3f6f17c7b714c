"""`tunnel demo`: two hosts on this machine, a tunnel between them, and what it is worth in numbers."""
