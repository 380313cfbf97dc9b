"""The status page in a true browser: page.py URL PICTURES.

What only the other side can do (a server dies, the daemon restarts) is asked for by a line on standard output and is done when a
line comes back. Ends with status 0 if all holds; else with what does not. Pictures go to the directory PICTURES.
"""
import json
import os
import sys
import time

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

URL, PICTURES = sys.argv[1], sys.argv[2]
PATIENCE = 60


def do(what):
    print(what, flush=True)
    answer = sys.stdin.readline().strip()
    assert answer == "done", f"{what}: {answer!r}"


def until(what, holds):
    deadline = time.monotonic() + PATIENCE
    while True:
        last = holds()
        if last:
            return last
        assert time.monotonic() < deadline, f"not in time: {what}\n{driver.find_element(By.TAG_NAME, 'body').text}"
        time.sleep(0.1)


def text(selector):
    return driver.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def health(server):
    script = """const row = document.querySelector(`#server-rows tr[data-key="${arguments[0]}"] td[data-label=Health]`);
                return row ? row.textContent : ''"""
    return driver.execute_script(script, server)


def screen(width, height, dark):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    time.sleep(0.3)


def picture(name):
    driver.execute_script("window.scrollTo(0, 0)")
    driver.save_screenshot(os.path.join(PICTURES, name))


# WCAG 2.1, 1.4.3: the contrast of text against what is behind it.
CONTRAST = """
const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = rgb(getComputedStyle(e).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !element.checkVisibility() || element.closest('svg')) continue;
  const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) found.push(`${element.tagName} ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
}
return found;
"""


def readable(what):
    found = driver.execute_script(CONTRAST)
    assert not found, f"{what}: too little contrast: {found}"
    wide = driver.execute_script("const e = document.scrollingElement; return [e.scrollWidth, e.clientWidth]")
    assert wide[0] <= wide[1], f"{what}: it is wider than the screen: {wide}"


def what_is_there():
    until("the state is shown", lambda: text("#hostname") == "lb1")
    until("all are up", lambda: all("up" in health(f"pc{n}") for n in range(1, 5)))
    assert "live" in text("#link"), text("#link")
    rows = driver.execute_script("return [...document.querySelectorAll('#server-rows tr')].map((row) => row.dataset.key)")
    assert rows == ["pc1", "pc2", "pc3", "pc4"], rows
    services = driver.execute_script("return document.querySelectorAll('#service-rows tr').length")
    state = json.loads(driver.execute_async_script(
        "const done = arguments[0]; fetch('/api/v1/state').then((a) => a.text()).then(done)"))
    assert services == len(state["services"]), services
    assert driver.execute_script("return document.querySelectorAll('#port-rows tr').length") == len(state["interfaces"])
    assert driver.execute_script("return document.querySelectorAll('#pool-rows tr').length") == len(state["pools"])
    # Nobody has logged in: nothing is to be ordered.
    assert not driver.find_elements(By.CSS_SELECTOR, "button[data-order]")


def customers_come():
    do("connect")
    until("they are counted", lambda: driver.execute_script(
        "const d = document.querySelector('#glance dd'); return d && Number(d.textContent)") == 90)


def nothing_from_elsewhere():
    loaded = driver.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert loaded and all(name.startswith(URL) or name.startswith("data:") for name in loaded), loaded
    # What is written into the page does not run.
    driver.execute_script("const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.body.append(s)")
    assert driver.execute_script("return window.ran") is None, "an inline script runs"
    violations = [entry for entry in driver.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert violations, "and the browser says that it was refused"


def by_keyboard_and_for_screen_readers():
    driver.execute_script("document.activeElement.blur()")
    ActionChains(driver).send_keys(Keys.TAB).perform()
    focused = driver.switch_to.active_element
    assert focused.get_attribute("class") == "skip", focused.get_attribute("outerHTML")
    assert focused.rect["x"] >= 0, "it is seen while it has the focus"
    ActionChains(driver).send_keys(Keys.ENTER).perform()
    assert driver.switch_to.active_element.get_attribute("id") == "servers"
    tree = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [node["role"]["value"] for node in tree if not node.get("ignored")]
    for role in ["banner", "main", "contentinfo", "heading", "table", "columnheader", "rowheader", "status"]:
        assert role in roles, f"no {role} in {sorted(set(roles))}"
    nameless = [node for node in tree if not node.get("ignored") and node["role"]["value"] in ("table", "button", "image", "link", "textbox")
                and not node.get("name", {}).get("value")]
    assert not nameless, nameless
    regions = driver.execute_script("return [...document.querySelectorAll('section')].map((s) => s.getAttribute('aria-labelledby')).filter((id) => !document.getElementById(id))")
    assert not regions, regions


def history_is_drawn():
    graph = until("graphs are there", lambda: driver.execute_script(
        "const g = document.querySelector('#server-rows svg'); return g && [g.querySelector('title').textContent, g.querySelector('path').getAttribute('d')]"))
    assert graph[0].startswith("pc1, the last ") and graph[1].startswith("M"), graph


def a_server_dies():
    do("kill pc1")
    until("it is down", lambda: "down" in health("pc1"))
    said = until("it is announced", lambda: text("#changes"))
    assert "pc1 is" in said, said
    assert driver.execute_script("return document.getElementById('changes').getAttribute('aria-live')") == "polite"
    assert "down" in text("#glance"), text("#glance")


def log_in(password):
    form = driver.find_element(By.ID, "login")
    for name, typed in [("user", "webmaster"), ("password", password)]:
        field = form.find_element(By.NAME, name)
        field.clear()
        field.send_keys(typed)
    form.find_element(By.NAME, "password").send_keys(Keys.ENTER)


def orders_after_a_login():
    until("a login is offered", lambda: driver.find_elements(By.ID, "login"))
    log_in("wrong")
    until("a wrong password is told", lambda: driver.execute_script(
        "const field = document.querySelector('#login [name=password]'); return field && field.validationMessage"))
    assert not driver.find_elements(By.CSS_SELECTOR, "button[data-order]")
    log_in("correct horse")
    until("logged in", lambda: driver.find_elements(By.ID, "logout"))
    # Another page of the same browser has the cookie, and not the token.
    status = driver.execute_async_script("""const done = arguments[0];
        fetch('/api/v1/servers/pc2/drain', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}).then((a) => done(a.status))""")
    assert status == 403, status
    for what, told in [("Drain", "draining"), ("Enable", "up")]:
        button = until(what, lambda: driver.find_elements(By.CSS_SELECTOR, f"button[aria-label='{what} pc2']"))[0]
        driver.execute_script("arguments[0].focus()", button)
        ActionChains(driver).send_keys(Keys.ENTER).perform()
        until("it asks", lambda: driver.execute_script("return document.getElementById('ask').open"))
        yes = driver.find_element(By.ID, "ask-yes")
        assert yes.text == what, yes.text
        driver.execute_script("arguments[0].focus()", yes)
        ActionChains(driver).send_keys(Keys.ENTER).perform()
        until(f"it is {told}", lambda: told in health("pc2") and (what == "Drain" or "draining" not in health("pc2")))
        assert "pc2" in text("#said"), text("#said")
    driver.find_element(By.ID, "logout").click()
    until("logged out", lambda: driver.find_elements(By.ID, "login"))
    until("nothing is to be ordered", lambda: not driver.find_elements(By.CSS_SELECTOR, "button[data-order]"))


def the_daemon_goes_and_comes_back():
    do("kill balancer")
    until("it is told", lambda: "no answer" in text("#link"))
    assert driver.execute_script("return document.body.classList.contains('stale')")
    do("start balancer")
    until("it is live again", lambda: "live" in text("#link") and not driver.execute_script("return document.body.classList.contains('stale')"))


options = webdriver.ChromeOptions()
options.binary_location = "/usr/bin/chromium"
for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,1000",
                 "--disable-background-networking", "--disable-component-update", "--no-first-run"]:
    options.add_argument(argument)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
driver = webdriver.Chrome(options=options)
try:
    driver.set_page_load_timeout(PATIENCE)
    driver.set_script_timeout(PATIENCE)
    driver.get(URL)
    what_is_there()
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE" and "/api/v1/" not in entry["message"]]
    assert not errors, errors
    customers_come()
    by_keyboard_and_for_screen_readers()
    history_is_drawn()
    a_server_dies()
    for name, width, height, dark in [("page-light.png", 1280, 1000, False), ("page-dark.png", 1280, 1000, True), ("page-phone.png", 390, 844, False)]:
        screen(width, height, dark)
        readable(name)
        picture(name)
    screen(390, 844, True)
    readable("a phone in the dark")
    screen(1280, 1000, False)
    orders_after_a_login()
    nothing_from_elsewhere()
    the_daemon_goes_and_comes_back()
finally:
    driver.quit()
