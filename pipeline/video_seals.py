"""Checks the checksums that FFV1 puts into its slices; libav hides damaged ones without a word."""

import zlib

FOOTER_BYTES = 3
"""A slice ends with its size in 24 bits (FFV1 version 3, RFC 9043 section 4.8)."""

SEAL_BYTES = 5
"""And, where it is sealed, with an error status and a CRC-32 over all of it (4.8.2, 4.8.3)."""

STARTS = (0, 0x7A8C4079)
"""What the CRC starts from and comes out as: RFC 9043, and ffmpeg's newer `-slicecrc 2`."""

BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""FFV1's CRC takes the highest bit of a byte first; zlib's takes the lowest."""


def sealed_slices(packet: bytes) -> list[bytes] | None:
    """The slices of an FFV1 packet, last one first; None where it is not made of sealed ones."""
    slices: list[bytes] = []
    end = len(packet)
    footer = FOOTER_BYTES + SEAL_BYTES
    while end >= footer:
        size = int.from_bytes(packet[end - footer : end - SEAL_BYTES]) + footer
        if size > end:
            return None
        slices.append(packet[end - size : end])
        end -= size
    return slices if slices and end == 0 else None


def is_whole(content: bytes) -> bool:
    """Whether a sealed slice holds what its encoder wrote."""
    reversed_bits = content.translate(BITS_REVERSED)
    return any(
        zlib.crc32(reversed_bits, start ^ 0xFFFFFFFF) ^ 0xFFFFFFFF == start
        for start in map(_reversed_32, STARTS)
    )


def _reversed_32(number: int) -> int:
    return int(f"{number:032b}"[::-1], 2)
