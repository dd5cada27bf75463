# SPDX-License-Identifier: Apache-2.0
"""gnutls-cli --resume: connects, and connects again with the session it was given."""

from clients.outcome import REQUEST, Outcome, header, run_client
from lab.plan import PORT, SERVER_NAME, VIP4, WEB_CA


def reconnect(version: str, vip: str = VIP4) -> Outcome:
    """What became of the second connection."""
    # By default gnutls-cli does not wait for a TLS 1.3 ticket.
    status, text = run_client(
        ["gnutls-cli", "--resume", "--waitresumption", "--x509cafile", WEB_CA, "--sni-hostname", SERVER_NAME,
         "--verify-hostname", SERVER_NAME, "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}",
         "--port", str(PORT), vip], stdin=REQUEST)
    if status != 0 or not header(text, "X-TLS-Resumed"):
        return Outcome(False, error=text[-300:])
    both = "This is a resumed session" in text and header(text, "X-TLS-Resumed") == "r"
    return Outcome(True, both, header(text, "X-Blade"), header(text, "X-TLS-Version").removeprefix("TLSv"))
