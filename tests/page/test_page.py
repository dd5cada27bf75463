# SPDX-License-Identifier: Apache-2.0
"""keyraild's page as people see it: what it shows is what API, command and metrics say; it is live; it says when it is not; what can
be done from it; by keyboard, on a phone, in the dark."""

import re
from typing import Any

from clients import curl, openssl
from lab import namespaces
from lab.plan import CONFIG, DISPATCH, METRICS
from support.browser import Browser
from support.chassis import Chassis, eventually

LIVE = "document.querySelector('#link').dataset.link === 'live'"


def opened(browser: Browser, url: str, **how: Any) -> None:
    browser.open(url, **how)
    browser.wait(f"{LIVE} && document.querySelectorAll('.slot').length > 0")


def verdict(browser: Browser) -> str:
    return browser.text("#verdict-text")


def some_clients(tmp_path: Any) -> None:
    for version in ("1.2", "1.3"):
        curl.connect(version, 20)
        for number in range(8):
            openssl.connect(version, tmp_path / f"{version}-{number}")


def test_it_shows_the_chassis(chassis: Chassis, url: str, browser: Browser, tmp_path: Any) -> None:
    some_clients(tmp_path)
    opened(browser, url)
    browser.wait("document.querySelector('#verdict-text').textContent.startsWith('All is well')")
    assert "3 blades take clients for 1 service" in verdict(browser)
    assert browser.count(".slot") == 3
    assert "up" in browser.text("[data-blade='2']") and "198.51.100.1:443" in browser.text("[data-blade='2']")
    assert "3 of 3" in browser.text("#services")
    browser.wait("document.querySelectorAll('#charts .line').length >= 4", 30)
    browser.wait("document.querySelectorAll('#history li').length >= 1")
    assert browser.mistakes() == [], "nothing fails, and nothing is asked of anybody else"
    browser.screenshot("light")


def metrics() -> dict[str, float]:
    text = namespaces.in_host(DISPATCH, ["curl", "--silent", f"http://{METRICS}/metrics"])
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if not line.startswith("#")}


def sum_of(values: dict[str, float], pattern: str) -> float:
    return sum(value for name, value in values.items() if re.fullmatch(pattern, name))


def seen_by_command(chassis: Chassis) -> dict[str, float]:
    """What the page names by data-fact, as the command says it."""
    stats, blades = chassis.keyrail("stats"), chassis.keyrail("blade", "list")
    seen = {"flows": stats["flows"], "drops": stats["drops"], "moves.moved": stats["moves"]["moved"], "sessions": sum(blade["sessions"] for blade in blades)}
    seen |= {f"blade.{blade['id']}.sessions": blade["sessions"] for blade in blades}
    seen |= {f"reason.{name}": count for name, count in stats["reasons"].items() if name.startswith("drop_") and count}
    seen |= {f"service.{service['name']}.blades_up": service["blades_up"] for service in chassis.keyrail("status")["services"]}
    return seen


def seen_by_metrics() -> dict[str, float]:
    values = metrics()
    seen = {"drops": sum_of(values, r'keyrail_packets_total\{.*reason="drop_.*'), "moves.moved": values['keyrail_moves_total{result="moved"}'],
            "sessions": sum_of(values, r"keyrail_blade_sessions\{.*")}
    seen |= {f"blade.{number}.sessions": values[f'keyrail_blade_sessions{{blade="{number}"}}'] for number in (1, 2, 3)}
    for name, value in values.items():
        if found := re.fullmatch(r'keyrail_packets_total\{.*reason="(drop_\w+)".*\}', name):
            seen[f"reason.{found[1]}"] = seen.get(f"reason.{found[1]}", 0) + value
    return seen


def test_page_api_command_and_metrics_say_the_same(chassis: Chassis, url: str, browser: Browser, tmp_path: Any) -> None:
    """One moment: nothing changes between two questions, so all four are of the same one."""
    some_clients(tmp_path)
    opened(browser, url)

    def agreement() -> bool:
        before = seen_by_command(chassis)
        page = {name: float(value) for name, value in browser.facts().items() if value not in (None, "")}
        scraped = seen_by_metrics()
        if seen_by_command(chassis) != before:
            return False  # something was between
        said = {name: page.get(name) for name in before}
        counted = {name: scraped.get(name) for name in scraped if name in before or scraped[name]}
        return said == before and counted == {name: before[name] for name in counted}

    eventually(agreement, 30, "page, command and metrics say the same")


def test_it_is_live(chassis: Chassis, url: str, browser: Browser, tmp_path: Any) -> None:
    opened(browser, url)
    before = int(browser.facts()["sessions"] or 0)
    for number in range(5):
        openssl.connect("1.3", tmp_path / f"new-{number}")
    browser.wait(f"Number(document.querySelector('[data-fact=sessions]').dataset.value) >= {before + 5}")
    chassis.keyrail("blade", "drain", "2", "--rate", "1/s")
    try:
        browser.wait_for_text("[data-blade='2'] .state", "drain")
        browser.wait_for_text("#event-list", "blade 2 (blade2) drains")
    finally:
        chassis.keyrail("blade", "resume", "2")
    browser.wait_for_text("[data-blade='2'] .state", "up")


def test_a_blade_is_drained_and_comes_back(chassis: Chassis, url: str, browser: Browser, tmp_path: Any) -> None:
    for number in range(12):
        openssl.connect("1.3", tmp_path / f"session-{number}")
    opened(browser, url)
    browser.click("[data-action='drain'][data-blade='3']")
    browser.wait("document.querySelector('dialog').open")
    assert "Drain blade3?" in browser.text("dialog")
    assert browser.axe() == []
    browser.screenshot("drain-dialog", full=False)
    browser.press("Escape")
    assert chassis.blade_states()["blade3"] == "up", "nothing was done"
    browser.click("[data-action='drain'][data-blade='3']")
    browser.fill("#rate", "2")
    browser.click("dialog button[value=yes]")
    browser.wait("document.querySelector('[data-blade=\"3\"] [role=progressbar]')")
    browser.screenshot("draining")
    assert chassis.blade_states()["blade3"] == "draining"
    browser.click("[data-action='resume'][data-blade='3']")
    browser.click("dialog button[value=yes]")
    browser.wait_for_text("[data-blade='3'] .state", "up")
    assert chassis.blade_states()["blade3"] == "up"


def test_the_last_blade_wants_its_name(chassis: Chassis, url: str, browser: Browser) -> None:
    """And nothing looks fine while a service has no blade."""
    opened(browser, url)
    for number in ("1", "2"):
        chassis.keyrail("blade", "drain", number)
    try:
        browser.wait_for_text("#verdict", "Service www is down to one blade")
        browser.click("[data-action='drain'][data-blade='3']")
        assert "last blade of www" in browser.text("dialog")
        browser.click("dialog button[value=yes]")
        assert browser.js("document.querySelector('dialog').open"), "its name is missing"
        browser.fill("#sure", "blade3")
        browser.click("dialog button[value=yes]")
        browser.wait_for_text("#verdict-text", "Service www has no blade that takes clients")
        assert "none of 3" in browser.text("#services")
        assert browser.js("document.title").startswith("✕")
        assert browser.js("document.querySelector('.verdict').className") == "verdict bad"
        browser.screenshot("no-blade")
    finally:
        for number in ("1", "2", "3"):
            chassis.keyrail("blade", "resume", number)
    browser.wait_for_text("#verdict-text", "All is well")


def test_a_configuration_is_confirmed_and_compared(chassis: Chassis, url: str, browser: Browser, tmp_path: Any) -> None:
    opened(browser, url)
    other = tmp_path / "other.toml"
    other.write_text(CONFIG.read_text().replace('hold_budget = "200ms"', 'hold_budget = "150ms"'))
    try:
        applied = chassis.keyrail("config", "apply", str(other), "--confirm", "60s", "-m", "shorter holds")
        browser.wait_for_text("#trial", "is on trial")
        browser.screenshot("on-trial")
        browser.click("[data-action=confirm]")
        browser.click("dialog button[value=yes]")
        browser.wait("document.querySelector('#trial').textContent === ''")
        assert chassis.keyrail("config", "history")["pending"] is None
        browser.wait_for_text("#history", "shorter holds")
        browser.click(f"[data-revision='{applied['revision']}']")
        browser.wait_for_text("#diff", "hold_budget")
        assert "150ms" in browser.text("#diff ins") and "200ms" in browser.text("#diff del")
        browser.screenshot("configuration")
    finally:
        chassis.keyrail("config", "apply", str(CONFIG))


def test_it_says_when_keyraild_is_gone(chassis: Chassis, url: str, browser: Browser) -> None:
    opened(browser, url)
    with chassis.killed(DISPATCH, "keyraild"):
        browser.wait_for_text("#lost", "keyraild is gone")
        assert verdict(browser) == "How the chassis is now is not known"
        assert browser.count("[data-action=drain]") == 0, "nothing can be done now"
        assert browser.axe() == []
        browser.screenshot("keyraild-gone")
    browser.wait(f"{LIVE} && document.querySelector('#lost').textContent === ''", 30)
    browser.wait_for_text("#verdict-text", "All is well", 30)


def test_it_says_when_keyraild_hangs(chassis: Chassis, url: str, browser: Browser) -> None:
    """Its connections are there, and nothing comes."""
    opened(browser, url)
    with chassis.paused(DISPATCH, "keyraild"):
        browser.wait_for_text("#lost", "keyraild is gone")
    browser.wait(LIVE, 30)


def test_it_says_when_the_dispatcher_is_gone(chassis: Chassis, url: str, browser: Browser) -> None:
    opened(browser, url)
    with chassis.paused(DISPATCH, "keyrail-dp"):
        browser.wait_for_text("#verdict-text", "keyrail-dp does not answer")
        assert "does not answer" in browser.text(".dispatcher")
        browser.screenshot("dispatcher-hangs")
    browser.wait_for_text("#verdict-text", "All is well", 30)


def test_nobody_is_shut_out(url: str, browser: Browser) -> None:
    """Dark, and light on a small phone: axe-core finds nothing serious, and nothing is wider than that phone."""
    for name, how in (("dark", {"color": "dark"}), ("phone", {"width": 320, "height": 640, "touch": True})):
        opened(browser, url, **how)
        browser.wait("document.querySelectorAll('#history li').length >= 1")
        browser.js("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        assert browser.axe() == [], name
        assert browser.js("document.documentElement.scrollWidth <= window.innerWidth"), f"{name}: wider than its window"
        browser.js("document.querySelectorAll('details').forEach((one) => (one.open = false))")
        browser.screenshot(f"whole-{name}")


def test_all_by_keyboard(chassis: Chassis, url: str, browser: Browser) -> None:
    """To a blade, its drain, and back, without a pointer; what has the focus keeps it while all around is live."""
    opened(browser, url)
    for _ in range(60):
        browser.press("Tab")
        if browser.focused().startswith("BUTTON drain"):
            break
    assert browser.focused() == "BUTTON drain Drain: blade1", "the first blade's"
    seen = browser.js("window.keyrail.known.live.unix_ms")
    browser.wait(f"window.keyrail.known.live.unix_ms > {seen} + 1500")
    assert browser.focused() == "BUTTON drain Drain: blade1"
    browser.press("Enter")
    browser.wait("document.querySelector('dialog').open")
    browser.press("Escape")
    browser.wait("!document.querySelector('dialog').open")
    assert browser.focused() == "BUTTON drain Drain: blade1"
    assert chassis.blade_states()["blade1"] == "up"


def test_charts_are_read_by_arrow_keys(url: str, browser: Browser) -> None:
    opened(browser, url)
    browser.wait("window.keyrail.known.samples.length > 1", 30)
    browser.js("document.querySelector('[data-chart=handshakes]').focus()")
    browser.press("ArrowLeft")
    browser.wait("/resumed/.test(document.querySelector('#said').textContent)")


def test_words_of_others_are_only_words(chassis: Chassis, url: str, browser: Browser, tmp_path: Any) -> None:
    """What somebody writes into a message does nothing in an admin's browser."""
    message = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    chassis.keyrail("config", "apply", str(CONFIG), "-m", message)
    opened(browser, url)
    browser.wait_for_text("#history", "<img src=x")
    assert "owned" not in browser.js("document.title") and browser.count("#history img") == 0
    assert browser.mistakes() == []
