from tunnel.wire.key_log import handshake_lines, key_log_line

REMOTE, EPHEMERAL, PRESHARED = b"\1" * 32, b"\2" * 32, b"\3" * 32


def test_a_line_is_a_name_and_base64() -> None:
    assert key_log_line("LOCAL_STATIC_PRIVATE_KEY", REMOTE) == (
        b"LOCAL_STATIC_PRIVATE_KEY=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
    )


def test_a_preshared_key_stands_behind_the_ephemeral_key_that_it_belongs_to() -> None:
    names = [line.partition(b"=")[0] for line in handshake_lines(REMOTE, EPHEMERAL, PRESHARED).splitlines()]
    assert names == [b"REMOTE_STATIC_PUBLIC_KEY", b"LOCAL_EPHEMERAL_PRIVATE_KEY", b"PRESHARED_KEY"]


def test_without_a_preshared_key_there_is_no_line_for_it() -> None:
    assert b"PRESHARED_KEY" not in handshake_lines(REMOTE, EPHEMERAL, None)
