"""DER put together by hand, for what no library writes."""

ED25519 = bytes.fromhex("300506032b6570")
"""AlgorithmIdentifier (RFC 8410, section 3)."""


def sequence(*parts: bytes) -> bytes:
    """A SEQUENCE of up to 65535 bytes."""
    content = b"".join(parts)
    if len(content) < 128:
        return bytes([0x30, len(content)]) + content
    size = len(content).to_bytes(2, "big").lstrip(b"\0")
    return bytes([0x30, 0x80 | len(size)]) + size + content
