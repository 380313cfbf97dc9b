"""An admin's work by OpenSSH at a terminal: a phase of it in each call."""
import sys

import pexpect

address, key, phase = sys.argv[1:]
child = pexpect.spawn("ssh", ["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                              "-o", "IdentitiesOnly=yes", "-i", key, f"admin@{address}"],
                      timeout=20, dimensions=(24, 80), encoding="utf-8")
child.delaybeforesend = None
child.expect("lb1#$")


def types(line, prompt):
    """What is right is answered by nothing but the next prompt."""
    child.send(line + "\r")
    child.expect_exact(f"{line}\r\n{prompt}")


if phase == "configure":
    child.send("sh ser vir\r")
    child.expect("\nv/v ")
    child.expect("lb1#$")
    child.send("conf t\r")
    child.expect_exact("conf t\r\nEnter configuration commands, one per line.  End with CNTL/Z.\r\nlb1(config)#")
    types("server pool more", "lb1(config-pool-more)#")
    for line in ["member pc3", "member pc1", "check type tcp", "check interval 200ms", "check timeout 150ms", "slow-start 0"]:
        types(line, "lb1(config-pool-more)#")
    types("server virtual w", "lb1(config-vs-w)#")
    types("ip-address 192.0.2.110", "lb1(config-vs-w)#")
    types("service w", "lb1(config-service-w)#")
    types("pool more", "lb1(config-service-w)#")
    child.send("por\t")
    child.expect("t $")
    child.send("7\r")
    child.expect_exact("7\r\nlb1(config-service-w)#")
    types("mode dsr", "lb1(config-service-w)#")
    child.send("\x1a")
    child.expect("lb1#$")
elif phase == "save":
    child.send("wr mem\r")
    child.expect_exact("Building configuration...\r\n[OK]\r\nlb1#")
elif phase == "back":
    types("configure replace archive 1", "lb1#")
child.send("exit\r")
child.expect(pexpect.EOF)
child.close()
assert child.exitstatus == 0, child.exitstatus
