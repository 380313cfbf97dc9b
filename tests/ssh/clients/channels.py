"""How many channels one connection has at once."""
import sys

import paramiko

port, directory = sys.argv[1:]
transport = paramiko.Transport(("127.0.0.1", int(port)))
transport.connect(username="admin", pkey=paramiko.Ed25519Key.from_private_key_file(f"{directory}/key"))
channels = []
try:
    while len(channels) < 20:
        channels.append(transport.open_session(timeout=10))
except paramiko.ChannelException as refused:
    assert refused.code == 4, refused
print(len(channels))
transport.close()
