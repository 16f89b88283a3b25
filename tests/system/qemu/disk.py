"""The disk of a guest, and the log of all that was written to it.

QEMU's `blklogwrites` writes down every write and every flush. From that log this makes the disk as
a power cut at any position can leave it: what was written before the last flush is there, and of
what came later each block is there or not. (No `cache=` mode of QEMU loses a completed write.)
"""

import struct
from dataclasses import dataclass

from guest import tool
from support import check

SIZE = 24 << 20
SECTOR, BLOCK = 512, 1024
MAGIC, FLUSH, DISCARD = 0x6A736677736872, 1, 4


def make(image):
    """An empty ext4 file system that has nothing left to write by itself."""
    with image.open("wb") as file:
        file.truncate(SIZE)
    tool("mkfs.ext4", "-q", "-F", "-b", BLOCK, "-E", "lazy_itable_init=0,lazy_journal_init=0",
         image)


def plain(image):
    """QEMU's options for the disk as it is."""
    return ["-blockdev", f"driver=file,node-name=disk,cache.direct=on,filename={image}",
            "-device", "virtio-blk-pci,drive=disk"]


def logged(image, log):
    """The same, with a log of what is written."""
    log.write_bytes(b"")
    return ["-blockdev", f"driver=blklogwrites,node-name=disk,file.driver=file,"
            f"file.filename={image},log.driver=file,log.filename={log}",
            "-device", "virtio-blk-pci,drive=disk"]


@dataclass(frozen=True)
class Entry:
    """One line of the log; `end` is where it ends in the file."""

    end: int
    flush: bool
    place: int
    data: bytes


def entries(log):
    """All that was logged, in order."""
    with log.open("rb") as file:
        magic, _, _, sector = struct.unpack_from("<QQQI", file.read(SECTOR))
        check(magic == MAGIC and sector == SECTOR, f"{log} is not a log of writes")
        while True:
            head = file.read(SECTOR)
            place, count, flags, _ = struct.unpack_from("<QQQQ", head.ljust(SECTOR, b"\0"))
            if not count and not flags:
                return  # the hole that a write leaves which was cut short, or the end
            data = b"" if flags & DISCARD else file.read(count * SECTOR)
            yield Entry(file.tell(), bool(flags & FLUSH), place * SECTOR, data)


class Platter:
    """The disk while its log is played: what is on it for sure, and what was written since."""

    def __init__(self, image):
        self.durable = bytearray(image.read_bytes())
        self.volatile = []

    def play(self, entry):
        if entry.flush:
            for write in self.volatile:
                put(self.durable, write.place, write.data)
            self.volatile.clear()
        if entry.data:
            self.volatile.append(entry)

    def cut(self, chance):
        """The disk after a power cut: each block since the last flush by the toss of a coin."""
        disk = bytearray(self.durable)
        for write in self.volatile:
            for at in range(0, len(write.data), BLOCK):
                if chance.random() < 0.5:
                    put(disk, write.place + at, write.data[at:at + BLOCK])
        return disk


def put(disk, place, data):
    disk[place:place + len(data)] = data
