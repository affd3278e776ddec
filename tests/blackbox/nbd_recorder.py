"""A disk that remembers the order in which things reached it: a plugin of nbdkit's, which runs it.

    nbdkit python nbd_recorder.py image=FILE journal=FILE

FILE is the disk. Every write and flush is also put at the end of the journal, in the order in which
nbdkit has them; it has one at a time. recording.py reads it.
"""
import os
import struct

import nbdkit

API_VERSION = 2
RECORD = struct.Struct("<cQI")  # b"W" offset, size, and the bytes; b"F" 0, 0

settings = {}
files = {}


def config(key, value):
    settings[key] = value


def get_ready():
    files["image"] = os.open(settings["image"], os.O_RDWR)
    files["journal"] = os.open(settings["journal"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def open(readonly):
    return files


def get_size(_):
    return os.fstat(files["image"]).st_size


def pread(_, buffer, offset, flags):
    buffer[:] = os.pread(files["image"], len(buffer), offset)


def pwrite(_, buffer, offset, flags):
    os.pwrite(files["image"], buffer, offset)
    os.write(files["journal"], RECORD.pack(b"W", offset, len(buffer)) + bytes(buffer))


def flush(_, flags):
    os.write(files["journal"], RECORD.pack(b"F", 0, 0))


def can_fua(_):
    return nbdkit.FUA_EMULATE  # a write, then a flush
