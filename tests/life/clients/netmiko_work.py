"""An admin's work by Netmiko, with a stock device type and unmodified: a phase of it in each call."""
import sys

from netmiko import ConnectHandler

address, kind, password, phase = sys.argv[1:]
connection = ConnectHandler(device_type=kind, host=address, username="admin", password=password)
if phase == "configure":
    assert "\npc1 " in connection.send_command("show server real")
    lines = ["server pool more", "member pc3", "member pc1", "check type tcp", "check interval 200ms",
             "check timeout 150ms", "slow-start 0", "server virtual w", "ip-address 192.0.2.110", "service w",
             "pool more", "port 7", "mode dsr"]
    said = connection.send_config_set(lines)
    assert "%" not in said, said
    assert "+server virtual w" in connection.send_command("show archive config differences")
elif phase == "save":
    said = connection.save_config()
    assert "[OK]" in said, said
elif phase == "back":
    said = connection.send_command("configure replace archive 1 force")
    assert "%" not in said, said
    assert "-server virtual w" in connection.send_command("show archive config differences")
connection.disconnect()
