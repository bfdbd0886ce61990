"""A program in a terminal of 80 columns: what is on its screen, and keys for it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from pathlib import Path

import pyte

COLUMNS, ROWS = 80, 50

UP, DOWN, ENTER, CLEAR = "\x1b[A", "\x1b[B", "\r", "\x15"


class Terminal:
    """A program that runs in a terminal of its own until it is closed."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        # Nobody answers where the cursor is.
        environment = os.environ | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)

    def press(self, *keys: str) -> None:
        """Send keys, one after the other."""
        os.write(self.master, "".join(keys).encode())

    def shown(self, text: str) -> str:
        """Return the screen, at the latest a minute after now, as soon as it has a text.

        A screen that never has it, or a program that ends before, raises AssertionError.
        """
        deadline = time.monotonic() + 60
        while text not in (screen := "".join(f"{line.rstrip()}\n" for line in self.screen.display)):
            assert time.monotonic() < deadline, f"no {text!r} on the screen:\n{screen}"
            if select.select([self.master], [], [], 1)[0]:
                try:
                    self.stream.feed(os.read(self.master, 65536))
                except OSError:
                    raise AssertionError(f"it ended without {text!r}:\n{screen}") from None
        return screen

    def close(self) -> None:
        """End the program."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)
