"""Whether the disk has the room that servers of the tests want: by default they take no mail once
less than a tenth of it is free (`spool.min_free_space`), and a test would wait for mail in vain."""

SHARE_WANTED = 10  # percent
MARGIN_BYTES = 1 << 30  # what a build and the spools of the tests take meanwhile


def shortage(space, path):
    """One line when the file system of os.statvfs() has less than that free; else None."""
    free = space.f_bavail * space.f_frsize
    wanted = space.f_blocks * space.f_frsize * SHARE_WANTED // 100 + MARGIN_BYTES
    if free >= wanted:
        return None
    return (f"the disk of {path} has {free / 1e9:.1f} GB free and the tests want {SHARE_WANTED} % "
            f"of it and 1 GiB more, {wanted / 1e9:.1f} GB: below that servers refuse mail")
