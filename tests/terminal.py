"""A terminal, for tests of what a user types and sees."""

import os
import pty
import select
import signal
import termios

from test_pipeline import Copy

LIMIT = 60  # seconds that nothing may be silent


class Terminal:
    """A command in a terminal of its own, at which a user can press keys."""

    def __init__(self, copy: Copy, *command: str) -> None:
        self.process, self._terminal = pty.fork()
        if self.process == 0:
            termios.tcsetwinsize(0, (24, 100))
            os.chdir(copy.folder)
            os.execvpe(command[0], command, copy.env)
        self.said = ""

    def until(self, text: str) -> None:
        """Read until the command has said this."""
        while text not in self.said:
            assert self._read(), f"ended without saying {text!r}:\n{self.said}"

    def press(self, key: bytes) -> None:
        os.write(self._terminal, key)

    def ended(self) -> int:
        """Read the rest; what the command's status is, 128 and more for a signal."""
        while self._read():
            pass
        os.close(self._terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return status if status >= 0 else 128 - status

    def _read(self) -> bool:
        if not select.select([self._terminal], [], [], LIMIT)[0]:
            os.kill(self.process, signal.SIGKILL)
            raise AssertionError(f"silent for {LIMIT} seconds after:\n{self.said}")
        try:
            read = os.read(self._terminal, 4096)
        except OSError:  # what Linux says at the end
            return False
        self.said += read.decode(errors="replace")
        return bool(read)
