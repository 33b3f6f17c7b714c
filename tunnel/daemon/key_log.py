"""The keys of handshakes, told to whoever asks for them: for ``tunnel capture --keys``, and nothing else.

    Device.key_log ─▶ KeyLog ─▶ Listener ─▶ control socket (root only) ─▶ Decryption Secrets Block ─▶ Wireshark

While nobody listens the device has nobody to tell, so no key is kept any longer than without this. That somebody begins
to listen, and stops, is in the log: whoever has the keys reads everything.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tunnel.control.events import Listener
from tunnel.keys import PresharedKey, PrivateKey, PublicKey
from tunnel.protocol.device import Device
from tunnel.wire.key_log import handshake_lines

_log = logging.getLogger(__name__)


class KeyLog:
    """Of the interface `name`, which `device` is."""

    def __init__(self, name: str, device: Device) -> None:
        self.name = name
        self._device = device
        self._listeners: set[Listener] = set()

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Somebody who hears the lines of every handshake from now on, each group with an empty line behind it."""
        listener = Listener()
        self._listeners.add(listener)
        self._device.key_log = self._tell
        _log.warning("SECRETS of %s are being recorded: its keys are told to tunnel capture --keys", self.name)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._device.key_log = None
            _log.warning("secrets of %s: a recording has ended, %d go on", self.name, len(self._listeners))

    def _tell(self, peer: PublicKey, ephemeral: PrivateKey, preshared: PresharedKey) -> None:
        lines = handshake_lines(peer.raw, ephemeral.raw, None if preshared.is_zero else preshared.raw)
        for listener in self._listeners:
            listener.tell(lines.decode() + "\n")
