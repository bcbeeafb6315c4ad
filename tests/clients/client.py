"""OpenFeature's SDK for Python with its OFREP provider: strict in types, and in what it takes for a reason."""

import datetime
import json
import os
import re
import unittest
import urllib.request

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

URL = os.environ["HUIDU_TEST_URL"]
SHOPPER = EvaluationContext("u-1")


def client(key=os.environ["HUIDU_TEST_SERVER"], url=URL):
    """A client of its own, under a domain of its own."""
    client.made = getattr(client, "made", 0) + 1
    provider = OFREPProvider(url, headers_factory=lambda: {"Authorization": f"Bearer {key}"})
    api.set_provider(provider, f"d-{client.made}")
    return api.get_client(f"d-{client.made}")


def manage(method, path, body, **headers):
    request = urllib.request.Request(
        f"{URL}/v1/environments/production/flags/{path}",
        json.dumps(body).encode(),
        {
            "authorization": f"Bearer {os.environ['HUIDU_TEST_ADMIN']}",
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
        method=method,
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class Client(unittest.TestCase):
    def test_values_of_every_type_keep_it(self):
        huidu = client()
        self.assertIs(huidu.get_boolean_value("a-boolean", False, SHOPPER), True)
        self.assertEqual(huidu.get_string_value("a-string", "", SHOPPER), '灰度 "x"')
        for kind, flag, expected in [("integer", "an-integer", 7), ("float", "a-float", 1.0)]:
            got = getattr(huidu, f"get_{kind}_details")(flag, type(expected)(0), SHOPPER)
            self.assertIsNone(got.error_code, got)
            self.assertIs(type(got.value), type(expected))
            self.assertEqual(got.value, expected)
        self.assertEqual(
            huidu.get_object_value("an-object", {}, SHOPPER), {"layout": "card", "steps": [1, {"deep": None}]}
        )

    def test_success_names_variant_reason_and_metadata(self):
        details = client().get_boolean_details("entry", False, SHOPPER)
        self.assertEqual((details.value, details.variant, details.reason), (True, "on", Reason.SPLIT))
        metadata = dict(details.flag_metadata)
        self.assertTrue(metadata.pop("exposureToken"))
        self.assertEqual(metadata, {"flagSetId": "production", "version": 1, "rule": "ramp"})

    def test_a_reason_is_one_that_this_sdk_knows(self):
        """It raises on any other: a default must not be called by a word of huidu's own."""
        context = EvaluationContext("u-1", {"goods": [{"id": "g-1", "category": "phone"}]})
        for flag, reason in [("for-shoes", Reason.TARGETING_MATCH), ("by-region", Reason.UNKNOWN)]:
            details = client().get_boolean_details(flag, True, context)
            self.assertEqual((details.value, details.reason, details.error_code), (False, reason, None))

    def test_a_missing_flag_is_the_default_of_the_code(self):
        details = client().get_boolean_details("no-such-flag", False, SHOPPER)
        self.assertEqual((details.value, details.error_code), (False, ErrorCode.FLAG_NOT_FOUND))

    def test_killed_and_archived_flags_answer_their_off_variant(self):
        for flag in ["shut", "gone"]:
            details = client().get_string_details(flag, "open by mistake", SHOPPER)
            self.assertEqual((details.value, details.reason, details.error_code), ("off", Reason.DISABLED, None))

    def test_a_flag_that_cannot_be_read_is_the_default_of_the_code(self):
        details = client().get_boolean_details("broken", False, SHOPPER)
        self.assertEqual((details.value, details.error_code), (False, ErrorCode.GENERAL))

    def test_a_missing_targeting_key_fails_only_what_needs_it(self):
        for context in [None, EvaluationContext(), EvaluationContext("")]:
            details = client().get_boolean_details("entry", False, context)
            self.assertEqual((details.value, details.error_code), (False, ErrorCode.TARGETING_KEY_MISSING))
            self.assertTrue(client().get_boolean_value("a-boolean", False, context))

    def test_a_change_is_heard_by_the_next_question(self):
        huidu = client()
        before = huidu.get_string_details("moving", "off", SHOPPER)
        self.assertEqual((before.value, before.flag_metadata["version"]), ("before", 1))
        manage("PATCH", "moving", {"default_variant": "after"}, if_match='"1"')
        after = huidu.get_string_details("moving", "off", SHOPPER)
        self.assertEqual((after.value, after.flag_metadata["version"]), ("after", 2))

    def test_a_wrong_key_and_a_service_that_is_away_are_the_default_of_the_code(self):
        for huidu in [client(key="huidu_client_wrong"), client(url="http://127.0.0.1:9")]:
            details = huidu.get_boolean_details("a-boolean", False, SHOPPER)
            self.assertEqual((details.value, details.error_code), (False, ErrorCode.GENERAL))

    def test_a_refusal_for_too_many_calls_is_understood_as_whole_seconds(self):
        huidu, message = client(key="huidu_client_guessed"), ""
        for _ in range(200):
            message = huidu.get_boolean_details("a-boolean", False, SHOPPER).error_message
            if "paused" in message:
                break
        found = re.search(r"until (.+)$", message)
        self.assertIsNotNone(found, message)
        wait = datetime.datetime.fromisoformat(found[1]) - datetime.datetime.now(datetime.timezone.utc)
        self.assertTrue(0 < wait.total_seconds() <= 61, message)


if __name__ == "__main__":
    unittest.main(verbosity=2)
