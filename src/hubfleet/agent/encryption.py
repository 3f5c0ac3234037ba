"""Whether the kernel can encrypt what passes between machines, as an encrypted network of Docker needs it."""

from __future__ import annotations

import subprocess

from hubfleet.agent.docker import tool

_KEY = "0x" + "11" * 20
_STATE = (
    *("ip", "xfrm", "state", "add", "src", "127.0.0.2", "dst", "127.0.0.3", "proto", "esp", "spi", "0x1001"),
    *("mode", "transport", "aead", "rfc4106(gcm(aes))", _KEY, "128"),
)
"""What Docker asks of it: AES in Galois counter mode, in an ESP of transport mode."""
_LACKS = ("not supported", "not implemented", "not found", "No such file or directory")


def encrypts() -> bool | None:
    """Tried in a network namespace of its own, which ends with the trial. None where that is not possible."""
    unshare, ip = tool("unshare"), tool("ip")
    if unshare is None or ip is None:
        return None
    command = [unshare, "--net", ip, *_STATE[1:]]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={"LC_ALL": "C"})
    if done.returncode == 0:
        return True
    return False if any(words in done.stderr for words in _LACKS) else None
