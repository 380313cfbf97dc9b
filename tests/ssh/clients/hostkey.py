"""The fingerprint of the host key, as PuTTY wants it."""
import base64
import hashlib
import subprocess
import sys

port = sys.argv[1]
text = subprocess.run(["ssh-keyscan", "-t", "ed25519", "-p", port, "127.0.0.1"], capture_output=True, check=True).stdout
blob = base64.b64decode(text.split()[2])
print("SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("="))
