"""How others configure and watch us: the UAPI socket, its client side, and the status they read."""
