"""TLS for DICOM, as a server to callers and as a client to nodes.

References
----------
PS3.15 annex B.9 and B.12; protocol versions and ciphers are the defaults of Python's `ssl`.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Any

from xraytransfer.errors import ServeError

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_settings import Destination, DicomSettings

__all__ = ["caller_context", "node_context"]


class _PatientContext(ssl.SSLContext):
    """Leaves the handshake to the association's own thread, within its time limits.

    pynetdicom would do the handshake where it accepts connections, so one silent caller would block all others.
    """

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Return the socket with TLS around it, before any handshake."""
        return super().wrap_socket(sock, *arguments, **{**options, "do_handshake_on_connect": False})


def caller_context(settings: DicomSettings) -> ssl.SSLContext | None:
    """Return the TLS context for callers, None for plain DICOM.

    Raises
    ------
    ServeError
        The certificates cannot be used.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    context = _PatientContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        if settings.tls_authorities is not None:
            context.load_verify_locations(settings.tls_authorities)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise ServeError(f"DICOM: the TLS certificates cannot be used: {error}") from error
    return context


def node_context(destination: Destination, settings: DicomSettings) -> tuple[ssl.SSLContext, str] | None:
    """Return the TLS context for a node, and the name that its certificate must carry; None for plain DICOM.

    Raises
    ------
    ServeError
        The certificates cannot be used.
    """
    if settings.tls_authorities is None or destination.tls is False:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(settings.tls_authorities)
        if settings.tls_certificate is not None:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:
        raise ServeError(f"DICOM: the TLS certificates cannot be used: {error}") from error
    return context, destination.host
