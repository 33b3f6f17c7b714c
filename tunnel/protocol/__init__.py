"""The WireGuard state machine: no socket, no clock, no randomness of its own."""
