"""Superpackets <-> packets, vectorised: what a network card's offload engine does."""
