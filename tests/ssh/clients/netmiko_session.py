"""Netmiko with a stock device type: in, to the level of administrators, commands, and out."""
import sys

from netmiko import ConnectHandler

port, _, kind, user, password, secret = sys.argv[1:]
connection = ConnectHandler(device_type=kind, host="127.0.0.1", port=int(port), username=user, password=password,
                            secret=secret)
print(connection.find_prompt())
if secret:
    connection.enable()
assert connection.check_enable_mode(), connection.find_prompt()
assert connection.base_prompt == "lb1", connection.base_prompt
text = connection.send_command("show running-config")
assert text.rstrip().endswith("end") and "More" not in text, text
assert "hostname lb1" in text, text
assert "% Invalid input" in connection.send_command("show nosuch")
assert "Current privilege level is 15" in connection.send_command("show privilege")
connection.disconnect()
