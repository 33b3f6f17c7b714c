"""Lines of the key log from which Wireshark decrypts WireGuard (wiki.wireshark.org/WireGuard): NAME=base64.

    LOCAL_STATIC_PRIVATE_KEY=…          ours; once
    REMOTE_STATIC_PUBLIC_KEY=…          with whom the handshake is
    LOCAL_EPHEMERAL_PRIVATE_KEY=…       ours in it
    PRESHARED_KEY=…                     of the ephemeral key in front of it; left out if there is none

A handshake's lines stand before the message in which the ephemeral key is seen first.
"""

import base64


def key_log_line(name: str, key: bytes) -> bytes:
    """One line for a key of 32 bytes."""
    return b"%s=%s\n" % (name.encode(), base64.b64encode(key))


def handshake_lines(remote: bytes, ephemeral: bytes, preshared: bytes | None) -> bytes:
    """What opens one handshake, and the session that follows from it."""
    lines = key_log_line("REMOTE_STATIC_PUBLIC_KEY", remote) + key_log_line("LOCAL_EPHEMERAL_PRIVATE_KEY", ephemeral)
    return lines + (key_log_line("PRESHARED_KEY", preshared) if preshared is not None else b"")
