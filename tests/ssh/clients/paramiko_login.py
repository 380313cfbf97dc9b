"""Paramiko asks for the service anew before each attempt. A wrong key first, the right password second; how long it takes."""
import sys
import time

import paramiko

port, directory, password = sys.argv[1:]
start = time.monotonic()
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect("127.0.0.1", int(port), "admin", password, key_filename=f"{directory}/wrong", allow_agent=False,
               look_for_keys=False, timeout=20, auth_timeout=20)
took = time.monotonic() - start
_, out, _ = client.exec_command("show privilege", timeout=20)
assert out.read() == b"Current privilege level is 15\n"
assert out.channel.recv_exit_status() == 0
# Nothing but the command line is behind it.
try:
    client.open_sftp()
    raise SystemExit("a subsystem was opened")
except (paramiko.SSHException, EOFError):
    pass
try:
    client.get_transport().open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 1), timeout=10)
    raise SystemExit("a connection was forwarded")
except paramiko.ChannelException as refused:
    assert refused.code == 1, refused
try:
    client.get_transport().request_port_forward("127.0.0.1", 0)
    raise SystemExit("a port was forwarded")
except paramiko.SSHException:
    pass
# And nothing of that has harmed the connection.
for _ in range(3):
    client.get_transport().open_session(timeout=10).close()
_, out, _ = client.exec_command("show privilege", timeout=20)
assert out.read() == b"Current privilege level is 15\n"
client.close()
print(took)
