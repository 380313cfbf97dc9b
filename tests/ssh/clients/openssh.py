"""OpenSSH at a terminal: what a person types, and what he sees."""
import sys
import time

import pexpect

port, directory, password, watch, secret = sys.argv[1:]


def ssh(user, how, rows=24):
    options = "-F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=INFO"
    child = pexpect.spawn(f"ssh {options} {how} -p {port} {user}@127.0.0.1", timeout=20, dimensions=(rows, 80),
                          encoding="utf-8")
    child.delaybeforesend = None
    return child


def ends(child, status):
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == status, child.exitstatus


# A password, wrong twice and right once: the prompt comes again, and then the command line.
child = ssh("admin", "-o PubkeyAuthentication=no")
child.expect("This box is for those who run it")
for attempt in ["wrong", "wrong again", password]:
    child.expect("assword: ")
    child.sendline(attempt)
child.expect("lb1#$")
child.send("sh ver\r")
child.expect("sh ver\r\nlbd ")
child.expect("\r\nlb1#$")
child.send("show priv\t")
child.expect("ilege $")
child.send("\r")
child.expect("Current privilege level is 15\r\nlb1#$")
child.send("show users\r")
child.expect("admin .*127.0.0.1")
child.expect("lb1#$")
# Pages are as long as the window, also after it has changed.
child.setwinsize(6, 80)
# The client hears of it by a signal.
time.sleep(0.5)
child.send("show server backup\r")
child.expect(" --More-- ")
assert child.before.count("\r\n") == 6, child.before
child.send("q")
child.expect("lb1#$")
child.setwinsize(4, 80)
time.sleep(0.5)
child.send("show server backup\r")
child.expect(" --More-- ")
assert child.before.count("\r\n") == 4, child.before
child.send("q")
child.expect("lb1#$")
child.send("nosuch\r")
child.expect("% Invalid input detected at '\\^' marker.\r\n\r\nlb1#$")
child.send("exit\r")
ends(child, 0)

# Somebody of level 1, who becomes an administrator by a password.
child = ssh("watch", "-o PubkeyAuthentication=no")
child.expect("assword: ")
child.sendline(watch)
child.expect("lb1>$")
child.send("server switchover\r")
child.expect("% Invalid input")
child.expect("lb1>$")
child.send("enable\r")
child.expect("enable\r\nPassword: $")
child.send("wrong\r")
child.expect("\r\n% Access denied\r\nlb1>$")
assert "wrong" not in child.before, child.before
child.send("enable\r")
child.expect("Password: $")
child.send(secret + "\r")
child.expect("\r\nlb1#$")
assert secret not in child.before, child.before
child.send("show privilege\r")
child.expect("level is 15\r\nlb1#$")
child.send("disable\r")
child.expect("lb1>$")
child.send("enable\r")
child.expect("Password: $")
child.send("\x03")
child.expect("% Access denied\r\nlb1>$")
child.send("show history\r")
child.expect("enable\r\n")
assert secret not in child.before, child.before
child.expect("lb1>$")
child.send("\x04")
ends(child, 0)

# A key, and a terminal of one that is cleared by another.
child = ssh("admin", f"-i {directory}/key -o IdentitiesOnly=yes")
child.expect("lb1#$")
child.send("show users\r")
child.expect(r"\r\n *(\d+) +admin ")
line = child.match.group(1)
child.expect("lb1#$")
other = ssh("admin", f"-i {directory}/key -o IdentitiesOnly=yes")
other.expect("lb1#$")
other.send(f"clear line {line}\r")
other.expect("lb1#$")
child.expect(pexpect.EOF)
other.send("clear line 9999\r")
other.expect("% there is no session on line 9999")
other.expect("lb1#$")
other.send("quit\r")
ends(other, 0)
