"""The server's TLS context: TLS 1.2 at least, certificates demanded of peers when a CA is configured."""

from __future__ import annotations

import ssl

from config.errors import ConfigError
from config.settings import DicomSettings


def server_context(settings: DicomSettings) -> ssl.SSLContext | None:
    """None where TLS is not configured.

    Raises
    ------
    ConfigError
        where a file is missing, unreadable or does not fit the others.
    """
    if not settings.tls_certificate_file:
        if settings.tls_key_file or settings.tls_ca_file:
            raise ConfigError("dicom.tls_certificate_file is needed where a TLS key or CA file is set")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_certificate_file, settings.tls_key_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"dicom.tls_certificate_file and dicom.tls_key_file cannot be used ({_why(error)}):"
            " they have to be readable PEM files that belong together"
        ) from None
    if settings.tls_ca_file:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(settings.tls_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"dicom.tls_ca_file cannot be used ({_why(error)}): it has to be a readable PEM file"
            ) from None
    return context


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__
