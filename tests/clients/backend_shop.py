"""`examples/frontend/backend.py`."""

import http.server
import os
import pathlib
import sys
import threading
import unittest

import requests
from openfeature import api

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples/frontend"))
from backend import Huidu  # noqa: E402

URL, KEY = os.environ["HUIDU_TEST_URL"], os.environ["HUIDU_TEST_SERVER"]
HUIDU = Huidu(URL, KEY, timeout=20)
NOWHERE = Huidu("http://127.0.0.1:9", KEY)
ORDER = {"id": "o-1", "currency": "CNY", "goods": [{"id": "g-1", "category": "shoes", "price": 45900}]}


def token(shopper):
    return HUIDU.decide({"id": shopper}, ORDER)["entry"]["exposure_token"]


def manage(way, version):
    headers = {"authorization": f"Bearer {os.environ['HUIDU_TEST_ADMIN']}", "if-match": f'"{version}"'}
    path = f"{URL}/v1/environments/production/flags/entry/{way}"
    requests.post(path, json={"reason": "test"}, headers=headers, timeout=20).raise_for_status()


class Flaky(http.server.BaseHTTPRequestHandler):
    """Refuses once, then hands on to huidu."""

    bodies = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.bodies.append(body)
        if len(self.bodies) == 1:
            self.send_response(503)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {name: self.headers[name] for name in ["authorization", "content-type"]}
        answer = requests.post(URL + self.path, data=body, headers=headers, timeout=20)
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_):
        pass


class Backend(unittest.TestCase):
    def test_only_visible_entries_are_decided(self):
        self.assertEqual(sorted(HUIDU.decide({"id": "p-1"}, ORDER)), ["entry", "for-shoes"])
        self.assertEqual(NOWHERE.decide({"id": "p-1"}, ORDER), {})
        self.assertEqual(HUIDU.decide({"id": ""}, ORDER), {})

    def test_a_payment_needs_the_token_of_this_shopper_while_the_entry_is_open(self):
        good = token("p-2")
        self.assertTrue(HUIDU.may_take(good, "entry", "p-2"))
        self.assertFalse(HUIDU.may_take(good, "entry", "somebody else"))
        self.assertFalse(HUIDU.may_take(good, "for-shoes", "p-2"))
        self.assertFalse(HUIDU.may_take(good[:-2] + "AA", "entry", "p-2"))
        self.assertFalse(HUIDU.may_take(None, "entry", "p-2"))
        self.assertFalse(NOWHERE.may_take(good, "entry", "p-2"))
        manage("kill", 1)
        self.addCleanup(manage, "restore", 2)
        self.assertFalse(HUIDU.may_take(good, "entry", "p-2"))

    def test_a_paid_order_is_counted_once(self):
        order = ("o-3", "p-3", 45900, "CNY", "wechat", token("p-3"))
        self.assertEqual(HUIDU.order_paid(*order), {"accepted": 2, "duplicates": 0, "rejected": []})
        self.assertEqual(HUIDU.order_paid(*order), {"accepted": 0, "duplicates": 2, "rejected": []})

    def test_a_report_is_repeated_with_the_same_ids_and_ends_with_an_error(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flaky)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        through = Huidu(f"http://127.0.0.1:{server.server_address[1]}", KEY, timeout=20)
        self.assertEqual(through.order_paid("o-4", "p-4", 1, "CNY", "alipay")["accepted"], 1)
        self.assertEqual(len(Flaky.bodies), 2)
        self.assertEqual(Flaky.bodies[0], Flaky.bodies[1])
        with self.assertRaises(ConnectionError):
            NOWHERE.report([])
        with self.assertRaises(requests.HTTPError):
            Huidu(URL, "huidu_server_wrong").report([])

    def test_its_provider_decides(self):
        api.set_provider(HUIDU.provider())
        self.assertTrue(api.get_client().get_boolean_value("a-boolean", False))


if __name__ == "__main__":
    unittest.main(verbosity=2)
