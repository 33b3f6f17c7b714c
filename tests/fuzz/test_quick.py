"""Invariant: any text at all is a `TunnelConfig` or a `ConfigError`, and the error shows no secret of the text.

So is any sequence of bytes once `decode_quick` has seen it.
"""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.configurations import tunnel_configs
from tunnel.config.model import TunnelConfig
from tunnel.config.quick import decode_quick, format_quick, parse_quick
from tunnel.config.quick_sections import SETTINGS
from tunnel.errors import ConfigError

KEYS = [key for keys in SETTINGS.values() for key in keys]
VALUES = [
    "",
    "0",
    "-1",
    "off",
    "auto",
    "receive",
    "true",
    "1",
    "0x",
    "10.0.0.1/24",
    "::/0",
    "fe80::1%1",
    "a:1",
    "[::1]:1",
    "::1",
    "a.pem, /b c",
    "*.example.com",
    ",",
    "#",
    "9" * 5000,
]

settings = st.builds(
    "{}{}{}".format,
    st.sampled_from(KEYS) | st.text(max_size=8),
    st.sampled_from(["=", " = ", "", " "]),
    st.sampled_from(VALUES) | st.text(max_size=20) | st.binary(min_size=32, max_size=32).map(lambda raw: raw.hex()),
)
sections = st.sampled_from(["[Interface]", "[Peer]", "[interface", "[]", "# comment"])
files = st.lists(sections | settings, max_size=30).map("\n".join)


@given(st.text() | files)
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_quick(text, "wg0.conf"), TunnelConfig)


@given(st.binary())
def test_any_bytes_are_a_configuration_or_a_config_error(raw: bytes) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(parse_quick(decode_quick(raw, "wg0.conf"), "wg0.conf"), TunnelConfig)


@given(tunnel_configs(), st.data())
def test_a_damaged_file_is_a_configuration_or_an_error_without_its_secrets(
    config: TunnelConfig, data: st.DataObject
) -> None:
    text = format_quick(config)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    damaged = text[:start] + data.draw(st.text(max_size=5) | settings) + text[end:]
    refusal = refusal_of(damaged)
    secrets = [config.interface.private_key, *(peer.preshared_key for peer in config.peers)]
    assert not any(secret.to_base64()[:-1] in refusal for secret in secrets if not secret.is_zero)
    assert "\n" not in refusal


def refusal_of(text: str) -> str:
    """The error's text, empty if there is none."""
    try:
        parse_quick(text, "wg0.conf")
    except ConfigError as error:
        return str(error)
    return ""
