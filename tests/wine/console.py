"""Runs a program on a terminal of its own, waits for a text on it, types Ctrl-C, and gives all that was shown.

console.py SECONDS TEXT PROGRAM [ARGUMENT...]; with an empty TEXT nothing is typed. The exit code is the program's; 124 if SECONDS
were not enough. TIOCSWINSZ: a console of Windows wants a size.
"""
import fcntl, os, pty, select, struct, sys, termios, time

limit, awaited, command = float(sys.argv[1]), sys.argv[2].encode(), sys.argv[3:]
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 60, 200, 0, 0))
    os.execvp(command[0], command)
shown, typed, end = b'', not awaited, time.monotonic() + limit
while time.monotonic() < end:
    readable, _, _ = select.select([terminal], [], [], 0.2)
    try:
        piece = os.read(terminal, 65536) if readable else None
    except OSError:
        piece = b''
    if piece == b'':
        break
    shown += piece or b''
    if not typed and awaited in shown:
        time.sleep(1)
        os.write(terminal, b'\x03')
        typed = True
else:
    os.kill(child, 9)
sys.stdout.buffer.write(shown)
_, status = os.waitpid(child, 0)
sys.exit(124 if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
