"""An hour of everything that happens to a gateway, and whether it leaks: `make soak`."""
