"""What this machine sees of the network: where names lead, what answers, which certificate is shown."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

LIMIT_S = 5.0
_LATE = f"no answer within {LIMIT_S:.0f} s"


def connect(address: str, port: int) -> None:
    """Raises OSError if nothing listens there."""
    socket.create_connection((address, port), timeout=LIMIT_S).close()


def addresses(name: str) -> list[str]:
    """The addresses that a name leads to. Raises OSError, with the resolver's words, if it leads nowhere."""
    return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})


def probe(names: Iterable[str], targets: Iterable[Sequence[Any]]) -> dict[str, Any]:
    """All of it at once, in `LIMIT_S`.

    names: by name, the addresses it leads to; a text says why there are none. targets: by "host:port", why nothing
    answers there, or "".
    """
    answers: dict[str, Any] = {"names": {}, "targets": {}}
    asked: list[tuple[str, str, Callable[[], Any]]] = [("names", name, partial(addresses, name)) for name in names]
    asked += [("targets", f"{host}:{port}", partial(_answers, host, port)) for host, port in targets]
    threads = []
    for kind, key, question in asked:
        answers[kind][key] = _LATE
        threads.append(threading.Thread(target=_answer, args=(answers[kind], key, question), daemon=True))
        threads[-1].start()
    deadline = time.monotonic() + LIMIT_S
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {kind: dict(found) for kind, found in answers.items()}


def _answers(host: str, port: int) -> str:
    connect(host, port)
    return ""


def _answer(answers: dict[str, Any], key: str, question: Callable[[], Any]) -> None:
    try:
        answers[key] = question()
    except OSError as error:
        answers[key] = error.strerror or str(error) or _LATE
    except UnicodeError:
        answers[key] = "not a name"


def certificate(address: str, port: int, name: str) -> str:
    """The certificate (PEM) that is shown to who asks there for ``name``: looked at, not trusted.

    Raises OSError if there is none.
    """
    import ssl  # only here: it takes its time to be imported

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((address, port), timeout=LIMIT_S) as plain:
        # Closed with the one around it; what is read from it is the certificate only.
        encrypted = context.wrap_socket(plain, server_hostname=name)
        shown = encrypted.getpeercert(binary_form=True)
        encrypted.close()
    return ssl.DER_cert_to_PEM_cert(shown or b"")
