# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that begin as files of their kind do, by their names: what a scene reads, without Blender."""

import gzip
import struct
from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
WAV = b"RIFF\x24\0\0\0WAVEfmt "
EXR = b"\x76\x2f\x31\x01\2\0\0\0"
TARGA = bytes(12) + struct.pack("<HHBB", 2, 2, 24, 0) + bytes(12)

_BEGINNINGS = {
    ".png": PNG,
    ".exr": EXR,
    ".jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    ".tga": TARGA[:2] + b"\2" + TARGA[3:],
    ".hdr": b"#?RADIANCE\n",
    ".tif": b"II*\0\x08\0\0\0",
    ".webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    ".bmp": b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(20),
    ".dds": b"DDS \x7c\0\0\0",
    ".psd": b"8BPS\0\1",
    ".svg": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
    ".mp4": b"\0\0\0\x18ftypisom",
    ".mov": b"\0\0\0\x08wide",
    ".mkv": b"\x1a\x45\xdf\xa3",
    ".avi": b"RIFF\x10\0\0\0AVI LIST",
    ".wav": WAV,
    ".mp3": b"ID3\3\0",
    ".flac": b"fLaC\0",
    ".ttf": b"\0\1\0\0\0\x0c",
    ".otf": b"OTTO\0",
    ".woff2": b"wOF2\0",
    ".abc": b"Ogawa\xff\0",
    ".vdb": b" BDV\0\0\0\0",
    ".usda": b"#usda 1.0\n",
    ".usdc": b"PXR-USDC\0",
    ".usdz": b"PK\3\4",
    ".obj": b"# a comment\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    ".ply": b"ply\nformat ascii 1.0\n",
    ".stl": bytes(80) + struct.pack("<I", 1) + bytes(50),
    ".bphys": b"BPHYSICS",
    ".btx": b"BCDF",
    ".pc2": b"POINTCACHE2\0",
    ".mdd": struct.pack(">II", 0, 0),
    ".uni": gzip.compress(b"MNT3" + bytes(300)),
    ".gz": gzip.compress(struct.pack("<I3f", 1, 0, 0, 1)),
    ".json": b'{"version": 3, "items": {}}',
    ".ies": b"IESNA:LM-63-1995\nTILT=NONE\n",
    ".osl": b"shader flat(output color c = 0) {}\n",
    ".csv": b"x,y\n1.0,2.0\n",
    ".cube": b"LUT_3D_SIZE 2\n0 0 0\n1 1 1\n",
    ".spi1d": b"Version 1\nFrom 0.0 1.0\n",
    ".blend": b"BLENDER17-01v0500",
    ".blend1": b"BLENDER17-01v0500",
}


def contents(name: str) -> bytes:
    """How a file of that name may begin; text for endings that are no kind."""
    return _BEGINNINGS.get(Path(name).suffix.lower(), b"some text\n")


def put(path: Path, data: bytes | None = None) -> Path:
    """Write a file, with its folders; what it may hold by its name, or `data`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents(path.name) if data is None else data)
    return path


ENDINGS = tuple(_BEGINNINGS)
