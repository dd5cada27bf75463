# SPDX-License-Identifier: Apache-2.0
"""Every answer of the API is what control/daemon/api/openapi.json says, and every path of it is asked."""

import http.client
import json
import socket
from typing import Any

import jsonschema

from lab.plan import CONFIG, CONTROL_SOCKET
from support.chassis import ROOT, Chassis, eventually

SPECIFICATION = json.loads((ROOT / "control/daemon/api/openapi.json").read_text())


class UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(CONTROL_SOCKET))


class Api:
    """Asks, and looks at each answer."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str]] = set()

    def ask(self, method: str, path: str, body: Any = None, status: int = 200, template: str = "") -> Any:
        connection = UnixConnection("localhost", timeout=15)
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")  # a capture is none
        assert answer.status == status, f"{method} {path}: {answer.status} {text}"
        self.asked.add((method.lower(), template or path.split("?")[0]))
        if answer.headers.get_content_type() != "application/json":
            return text
        self._check(method.lower(), template or path.split("?")[0], status, json.loads(text))
        return json.loads(text)

    @staticmethod
    def _check(method: str, path: str, status: int, value: Any) -> None:
        responses = SPECIFICATION["paths"].get(path, {}).get(method, {}).get("responses", {})
        response = responses.get(str(status), {"$ref": "#/components/responses/error"})
        components = SPECIFICATION["components"]
        if "$ref" in response:
            response = components["responses"][response["$ref"].rsplit("/", 1)[1]]
        schema = {**response["content"]["application/json"]["schema"], "components": components}
        jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


def test_specification_is_one() -> None:
    for _, operations in SPECIFICATION["paths"].items():
        for method, operation in operations.items():
            assert method == "parameters" or {"summary", "responses"} <= operation.keys()


def test_every_answer(chassis: Chassis) -> None:
    api, text = Api(), CONFIG.read_text()
    for path in ("/v1/status", "/v1/stats", "/metrics", "/v1/blades", "/v1/keys", "/v1/config", "/v1/config/history", "/v1/events", "/v1/live", "/v1/trend", "/v1/checks",
                 "/ui"):
        api.ask("GET", path)
    api.ask("GET", "/ui/app.js", template="/ui/{file}")
    api.ask("GET", "/ui/nothing.js", status=404, template="/ui/{file}")
    api.ask("GET", "/", status=302)
    one = {"template": "/v1/blades/{blade}/drain"}
    api.ask("POST", "/v1/blades/blade2/drain", {"rate": 1000, "deadline_s": 60}, **one)
    api.ask("POST", "/v1/blades/99/drain", {}, 404, **one)
    api.ask("POST", "/v1/blades/2/drain", {"rate": 0}, 400, **one)
    api.ask("POST", "/v1/blades/2/drain", {"ratee": 1}, 400, **one)
    api.ask("POST", "/v1/blades/2/resume", {}, template="/v1/blades/{blade}/resume")
    api.ask("POST", "/v1/blades/2/off", {}, 409, template="/v1/blades/{blade}/off")
    api.ask("POST", "/v1/blades/2/check", {}, 409, template="/v1/blades/{blade}/check")
    weight = {"template": "/v1/blades/{blade}/weight"}
    api.ask("POST", "/v1/blades/2/weight", {"weight": 0}, 400, **weight)
    for percent in (50, 100):
        assert api.ask("POST", "/v1/blades/2/weight", {"weight": percent}, **weight)["weight"] == percent
    for verb, disabled in (("disable", True), ("enable", False)):
        assert api.ask("POST", f"/v1/blades/2/{verb}", {}, template=f"/v1/blades/{{blade}}/{verb}")["disabled"] == disabled
        assert api.ask("POST", f"/v1/services/www/{verb}", {}, template=f"/v1/services/{{service}}/{verb}")["disabled"] == disabled
        api.ask("POST", f"/v1/services/none/{verb}", {}, 404, template=f"/v1/services/{{service}}/{verb}")
    api.ask("POST", "/v1/blades/77/enroll", {"pools": ["none"], "address": "10.77.0.77"}, 422, template="/v1/blades/{blade}/enroll")
    api.ask("POST", "/v1/blades/99/revoke", {}, 404, template="/v1/blades/{blade}/revoke")
    api.ask("GET", "/v1/session/" + "0" * 64, status=404, template="/v1/session/{session}")
    api.ask("POST", "/v1/sessions/purge", {"service": "www"})
    api.ask("POST", "/v1/sessions/purge", {}, 400)
    api.ask("POST", "/v1/keys/rotate")
    api.ask("GET", "/v1/config/history/1", template="/v1/config/history/{revision}")
    api.ask("GET", "/v1/config/history/999999", status=404, template="/v1/config/history/{revision}")
    file = {"file": str(CONFIG)}
    api.ask("POST", "/v1/config/diff", {"after": text + "nonsense = 1\n", **file})
    api.ask("POST", "/v1/config/apply", {"text": text + "nonsense = 1\n", **file}, 422)
    api.ask("POST", "/v1/config/apply", {"text": text, **file, "if_revision": 999999}, 412)
    for end in ("confirm", "cancel"):
        api.ask("POST", "/v1/config/apply", {"text": text, **file, "confirm_s": 30, "wait": False})
        api.ask("POST", "/v1/config/apply", {"text": text, **file}, 409)
        api.ask("POST", f"/v1/config/{end}", {})
        api.ask("POST", f"/v1/config/{end}", {}, 409)
    api.ask("POST", "/v1/config/rollback", {"to": 999999}, 404)
    api.ask("POST", "/v1/reload", {"yes": True})
    api.ask("POST", "/v1/explain", {"client": "192.0.2.10", "server_name": "www.keyrail.test", "why_not": "1"})
    api.ask("POST", "/v1/explain", {"client": "192.0.2.10", "address": "192.0.2.10", "port": 1})
    api.ask("POST", "/v1/explain", {"client": "nobody"}, 400)
    api.ask("POST", "/v1/explain", {"client": "192.0.2.10", "service": "none"}, 422)
    for path in ("/v1/services", "/v1/pools", "/v1/moves"):
        api.ask("GET", path)
    api.ask("POST", "/v1/flows/find", {"client": "192.0.2.10"})
    api.ask("POST", "/v1/flows/find", {"client": "192.0.2.10", "service": "none"}, 404)
    api.ask("GET", "/v1/services/www", template="/v1/services/{service}")
    api.ask("GET", "/v1/services/none", status=404, template="/v1/services/{service}")
    api.ask("GET", "/v1/pools/web", template="/v1/pools/{pool}")
    api.ask("GET", "/v1/pools/none", status=404, template="/v1/pools/{pool}")
    api.ask("GET", "/v1/trace/capture", status=404)
    api.ask("POST", "/v1/trace/start", {"packets": 100_000}, 422)
    api.ask("POST", "/v1/trace/start", {"reasons": ["nonsense"]}, 422)
    api.ask("POST", "/v1/trace/start", {"packets": "many"}, 400)
    api.ask("POST", "/v1/trace/start", {"packets": 5, "seconds": 30, "snap": 128})
    api.ask("POST", "/v1/trace/start", {}, 409)
    api.ask("GET", "/v1/trace?from=0")
    api.ask("GET", "/v1/trace/capture")
    api.ask("POST", "/v1/trace/stop", {})
    api.ask("DELETE", "/v1/status", status=405)
    api.ask("GET", "/v1/nothing", status=404)
    api.ask("GET", "/v1/events?since=x", status=400)
    known = {(method, path) for path, operations in SPECIFICATION["paths"].items() for method in operations if method != "parameters"}
    assert not known - api.asked, known - api.asked
    chassis.wait_for_states("up")


def test_answers_of_checks(chassis: Chassis) -> None:
    api, line = Api(), "[[service]]"
    with chassis.configured(lambda text: text.replace(line, f'[pool.check]\ntype = "tcp"\ntimeout = "1s"\n{line}', 1)):
        eventually(lambda: all(check["last"] for check in api.ask("GET", "/v1/checks")["checks"]), 10, "all were checked")
        assert api.ask("POST", "/v1/blades/2/check", {}, template="/v1/blades/{blade}/check")["checks"]
        assert "keyrail_blade_check_duration_seconds_bucket{" in api.ask("GET", "/metrics")
