"""Biometric data at rest: AES-256-GCM under a key that is not in the database."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from config.errors import ConfigError, LedgerError

NONCE_BYTES = 12
KEY_BYTES = 32


class Seal:
    """Seals bytes for one row of the ledger. Without a key they are stored as they are.

    The associated data name the row, encoder and version, so that a sealed vector moved to another row, or
    relabelled as another encoder's, does not open.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self.key_id = ""
        if key is None:
            return
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(key) != KEY_BYTES:
            raise ConfigError(f"the embedding key has {len(key)} bytes; AES-256 needs {KEY_BYTES}")
        self._cipher = AESGCM(key)
        # Tells keys apart without telling anything of the key.
        self.key_id = hashlib.sha256(b"medreid key id\x00" + key).hexdigest()[:16]

    def close(self, plain: bytes, bound_to: bytes) -> bytes:
        """Nonce (12 bytes), ciphertext and tag; or the plain bytes when there is no key."""
        if not self.key_id:
            return plain
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, bound_to)

    def open(self, stored: bytes, bound_to: bytes, key_id: str) -> bytes:
        """
        Raises
        ------
        LedgerError
            when the bytes were sealed by another key, or are not those that were sealed for this row.
        """
        if not key_id:
            return stored
        if key_id != self.key_id:
            raise LedgerError(
                f"embeddings are sealed by the key {key_id}; set node.embedding_key_file to that key",
                reason="EMBEDDING_KEY",
            )
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], bound_to)
        except InvalidTag:
            raise LedgerError(
                "a sealed embedding was changed or moved; restore the ledger from a backup", reason="EMBEDDING_DAMAGED"
            ) from None


def read_key(path: str) -> bytes | None:
    """The AES-256 key in a file of 64 hexadecimal digits; None when no file is named.

    Raises
    ------
    ConfigError
        when the file cannot be read or holds something else.
    """
    if not path:
        return None
    try:
        key = bytes.fromhex(Path(path).read_text(encoding="ascii").strip())
    except OSError as error:
        raise ConfigError(f"node.embedding_key_file {path}: {error.strerror}") from None
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"node.embedding_key_file {path}: expected 64 hexadecimal digits (openssl rand -hex 32)")
    return key
