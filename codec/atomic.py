"""Files that are whole or not there: a kill, an error or a full disk leaves the file before."""

from pathlib import Path
from secrets import token_hex


def write_atomically(path: Path, content: bytes) -> None:
    """Write the file and the folders above it, with the rights that the umask leaves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{token_hex(4)}.tmp")  # its own, where several processes write the same file
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
