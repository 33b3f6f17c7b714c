"""Readings of a real process: this one."""

import os
import threading

import pytest

from tests.soak.readings import MEBIBYTE, Reading
from tunnel.testing.namespaces import Namespace

pytestmark = pytest.mark.root


def test_what_was_opened_and_added_is_counted() -> None:
    with Namespace("reading") as namespace:
        before = Reading.take(namespace, os.getpid())
        with namespace.enter():
            left, right = os.pipe()
        namespace.ip("route", "add", "blackhole", "10.0.0.0/8")
        namespace.ip("-6", "rule", "add", "fwmark", "7", "table", "7")
        namespace.run("nft", "add", "table", "inet", "more")
        is_over = threading.Event()
        thread = threading.Thread(target=is_over.wait)
        thread.start()
        try:
            after = Reading.take(namespace, os.getpid())
        finally:
            is_over.set()
            thread.join()
            os.close(left)
            os.close(right)
    grown = {name for name in Reading.__slots__ if getattr(after, name) > getattr(before, name)}
    assert grown - {"memory"} == {"descriptors", "threads", "routes", "rules", "tables"}
    assert after.descriptors == before.descriptors + 2
    assert after.memory > MEBIBYTE
    assert str(after).endswith("1 tables")
