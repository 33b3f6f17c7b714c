"""Certificates: who a peer is and which addresses it may use, vouched for by an authority. No I/O, no clock."""
