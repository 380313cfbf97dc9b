"""Passwords, one after the other on one connection: denied, in, full (in, and out again), or over (the connection is)."""
import sys
import time

import paramiko

port, _, user, *passwords = sys.argv[1:]
transport = paramiko.Transport(("127.0.0.1", int(port)))
transport.start_client(timeout=20)
for password in passwords:
    try:
        transport.auth_password(user, password)
        # Whoever finds no place is told at once.
        time.sleep(0.5)
        print("in" if transport.is_active() else "full")
    except paramiko.AuthenticationException:
        print("denied" if transport.is_active() else "over")
    except (paramiko.SSHException, EOFError, OSError):
        print("over")
transport.close()
