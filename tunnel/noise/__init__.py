"""Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s in the words of the Noise paper: primitives, symmetric state, handshake."""
