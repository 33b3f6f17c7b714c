"""A wg-quick file with other content, that stays the file its owner wrote as far as it says the same.

    file ─ at every [Section] ─▶ blocks ─ says what is wanted? ─▶ yes: as it is written, comments and all
                                                                 no:  written anew, or left out if the peer is gone

Comments in front of a section, with no empty line between, belong to it. Comments inside one that changes are lost.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tunnel.config.model import PeerConfig, TunnelConfig
from tunnel.config.quick import format_quick, parse_quick
from tunnel.config.quick_sections import WHITE_SPACE, read_sections
from tunnel.errors import ConfigError
from tunnel.keys import PublicKey


def rewrite_quick(text: str, config: TunnelConfig) -> str:
    """A file that reads back as `config`, like `text` where possible. Raise `ConfigError` if `text` is not a good file.

    Should the two not fit together after all, the file is written anew.
    """
    before = parse_quick(text, "")
    wanted = {peer.public_key: peer for peer in config.peers}
    written = "\n\n".join(_sections(text, before, config, wanted)) + "\n"
    try:
        is_right = _sorted(parse_quick(written, "")) == _sorted(config)
    except ConfigError:
        is_right = False
    return written if is_right else format_quick(config)


def _sections(
    text: str, before: TunnelConfig, config: TunnelConfig, wanted: Mapping[PublicKey, PeerConfig]
) -> Iterator[str]:
    """In the order of the file, then those that are new."""
    peers = iter(before.peers)
    known = {peer.public_key for peer in before.peers}
    for name, block in _blocks(text):
        if name == "Interface":
            same = before.interface == config.interface
            yield block if same else _with_comments(block, format_quick(TunnelConfig(config.interface)))
        elif name == "Peer":
            peer = next(peers)
            now = wanted.get(peer.public_key)
            if now is not None:
                yield block if _is_same(now, peer) else _with_comments(block, _format_peer(config, now))
        elif block:
            yield block
    yield from (_format_peer(config, peer) for key, peer in wanted.items() if key not in known)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """(name, text without empty lines around it); the name of what stands in front of the first section is empty."""
    lines = text.split("\n")
    sections = read_sections(text, "")
    starts = [0, *(_first_line(lines, section.line - 1) for section in sections)]
    ends = [*starts[1:], len(lines)]
    names = ["", *(section.name for section in sections)]
    for name, start, end in zip(names, starts, ends, strict=True):
        yield name, "\n".join(lines[start:end]).strip(f"\n{WHITE_SPACE}")


def _first_line(lines: list[str], header: int) -> int:
    """Where the comments right in front of the section begin."""
    while header > 0 and lines[header - 1].strip(WHITE_SPACE).startswith("#"):
        header -= 1
    return header


def _with_comments(block: str, anew: str) -> str:
    """The section as `anew`, under the comments in front of the old one."""
    lines = block.split("\n")
    comments = lines[: next(number for number, line in enumerate(lines) if line.strip(WHITE_SPACE).startswith("["))]
    return "\n".join([*comments, anew.strip("\n")])


def _format_peer(config: TunnelConfig, peer: PeerConfig) -> str:
    both = format_quick(TunnelConfig(config.interface, (peer,)))
    return both.removeprefix(format_quick(TunnelConfig(config.interface))).strip("\n")


def _sorted(config: TunnelConfig) -> TunnelConfig:
    """Without the order of peers and networks, which means nothing."""
    peers = (replace(peer, allowed_ips=tuple(sorted(peer.allowed_ips, key=str))) for peer in config.peers)
    return replace(config, peers=tuple(sorted(peers, key=lambda peer: peer.public_key.to_hex())))


def _is_same(one: PeerConfig, other: PeerConfig) -> bool:
    return set(one.allowed_ips) == set(other.allowed_ips) and replace(one, allowed_ips=()) == replace(
        other, allowed_ips=()
    )
