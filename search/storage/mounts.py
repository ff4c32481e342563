"""Which file system a path is on, for SQLite's sake: its locks and its write-ahead log do not work over a network."""

import re
from pathlib import Path, PurePosixPath

# The types of proc_pid_mountinfo(5) that other machines may write to at the same time.
NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "ceph", "lustre", "gpfs"}
    | {"beegfs", "orangefs", "pvfs2", "ocfs2", "gfs", "gfs2", "glusterfs", "davfs", "moosefs", "panfs", "wekafs"}
)
FUSE_ON_DISK = frozenset({"fuseblk", "fuse.fuse-overlayfs", "fuse.ntfs-3g", "fuse.lxcfs"})
MOUNTS = Path("/proc/self/mountinfo")


def file_system(mountinfo: str, path: PurePosixPath) -> str:
    """The type of the file system that the absolute `path` is on, "" where mountinfo (proc(5)) does not say.

    Of several mounts at one place the last one counts: it hides the others.
    """
    found, depth = "", -1
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after.strip():
            continue
        point = PurePosixPath(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if path.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = after.split()[0], len(point.parts)
    return found


def is_network(kind: str) -> bool:
    """Whether file systems of this type are shared over a network; FUSE counts, but for those known to be local."""
    return kind in NETWORK or (kind.startswith("fuse.") and kind not in FUSE_ON_DISK)


def network_file_system(path: Path) -> str:
    """The type of network file system that `path` is on; "" for a local one, or where there is no /proc to tell."""
    try:
        mountinfo = MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    kind = file_system(mountinfo, PurePosixPath(path.resolve()))
    return kind if is_network(kind) else ""
