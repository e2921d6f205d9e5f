"""Merkle tree hashes (RFC 6962, section 2.1)."""

import hashlib


def leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


def root(leaves):
    """The tree hash over the hashes of leaves."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two below
    return hashlib.sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()
