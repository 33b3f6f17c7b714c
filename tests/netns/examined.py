"""What ``tunnel doctor`` says of a host, and what tests do to the host meanwhile."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.netns.hosts import BIN, Host


def examine(host: Host) -> dict[str, Any]:
    """The document of ``tunnel doctor FILE --json``."""
    done = host.tunnel("doctor", str(host.config_file), "--json", check=False)
    (document,) = json.loads(done.stdout)
    assert done.returncode == (0 if document["healthy"] else 1)
    examined: dict[str, Any] = document
    return examined


def verdict(host: Host) -> str:
    """What is wrong, why and the remedy, for looking into."""
    document = examine(host)
    assert document["verdict"], document
    return "\n".join(document["verdict"][part] for part in ("what", "why", "remedy"))


def follow(host: Host, text: str) -> None:
    """Type the remedy, which is the last line."""
    host.namespace.run("env", f"PATH={BIN}:{os.environ['PATH']}", "sh", "-c", text.splitlines()[-1])


def firewall(host: Host, hook: str, *rules: str, policy: str = "accept") -> None:
    """One chain at this hook, with these rules."""
    head = f"type filter hook {hook} priority 0; policy {policy};"
    lines = ["table inet f {", "chain c {", head, *rules, "}", "}", ""]
    host.namespace.run("nft", "-f", "/dev/stdin", stdin="\n".join(lines))


@contextmanager
def trying(host: Host, *command: str) -> Iterator[None]:
    """`command` again and again in the background, as people do while nothing works."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            host.namespace.run(*command, check=False)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
