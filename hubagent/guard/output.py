"""A service's output: from a named pipe into a file of bounded size, long lines cut with a count."""

import contextlib
import errno
import os
import stat

READ_BYTES_MAX = 32 << 10  # for each service and turn: a flood waits in its own pipe, the others go on
LINE_BYTES_MAX = 16 << 10  # longer lines are cut, with the number of bytes left out
FILE_BYTES_MIN = 8 << 10


class Output:
    """One service's pipe and files; `path` and `path.1` together stay below `bytes_max`.

    The pipe is a named one that the service itself holds open for reading and writing: when the guard dies, a
    write blocks once the pipe is full and goes on with the next guard, and nobody dies of SIGPIPE.
    """

    def __init__(self, path: str, bytes_max: int) -> None:
        self.path = path
        self.lost_bytes = 0  # not written because the disk refused
        self._half = max(bytes_max, 2 * FILE_BYTES_MIN) // 2
        self._column = 0
        self._cut = 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._file).st_size
        try:
            self.pipe = self._open_pipe()
        except OSError:
            os.close(self._file)
            raise

    @property
    def pipe_path(self) -> str:
        """Where the service opens its end."""
        return f"{self.path}.pipe"

    def _open_pipe(self) -> int:
        with contextlib.suppress(FileExistsError):  # a service from before this guard may hold its other end
            os.mkfifo(self.pipe_path, 0o600)
        pipe = os.open(self.pipe_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            os.close(pipe)
            raise FileExistsError(errno.EEXIST, "not a named pipe", self.pipe_path)
        return pipe

    def turn(self) -> int:
        """Move what one turn allows; the number of bytes read, 0 when there is nothing now or no writer."""
        try:
            return self._take(os.read(self.pipe, READ_BYTES_MAX))
        except BlockingIOError:
            return 0

    def is_deserted(self) -> bool:
        """Tell whether nobody holds the writing end any more, and nothing is left to read."""
        try:
            return self._take(os.read(self.pipe, READ_BYTES_MAX)) == 0
        except BlockingIOError:
            return False

    def _take(self, chunk: bytes) -> int:
        if chunk:
            self._write(self.shorten(chunk))
        return len(chunk)

    def shorten(self, chunk: bytes) -> bytes:
        """The chunk with each line cut at LINE_BYTES_MAX, counted across chunks."""
        lines = chunk.split(b"\n")
        for index, line in enumerate(lines):
            keep = max(0, LINE_BYTES_MAX - self._column)
            self._column += len(line)
            self._cut += max(0, len(line) - keep)
            lines[index] = line[:keep]
            if index < len(lines) - 1:
                if self._cut:
                    lines[index] += b" [%d bytes cut]" % self._cut
                self._column = self._cut = 0
        return b"\n".join(lines)

    def _write(self, text: bytes) -> None:
        try:
            if self._size + len(text) > self._half:
                self._rotate()
            written = os.write(self._file, text)
        except OSError:  # a full disk must not stop a service, nor the guard
            written = 0
        self._size += written
        self.lost_bytes += len(text) - written

    def _rotate(self) -> None:
        os.replace(self.path, f"{self.path}.1")
        fresh = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.close(self._file)
        self._file, self._size = fresh, 0

    def close(self) -> None:
        """Take what is left in the pipe, bounded by the file's size, and close both ends."""
        left = self._half
        while left > 0 and (taken := self.turn()):
            left -= taken
        os.close(self.pipe)
        os.close(self._file)
        os.unlink(self.pipe_path)
