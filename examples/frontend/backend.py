"""huidu behind the shop: decide for a page made on the server, let a payment pass, report what only the shop knows."""

import time
from datetime import datetime, timezone

import requests
from openfeature.contrib.provider.ofrep import OFREPProvider

RETRIES = 5


class Huidu:
    def __init__(self, base_url, key, timeout=1.0):
        self.base_url, self.timeout = base_url, timeout
        self.headers = {"Authorization": f"Bearer {key}"}

    def _post(self, path, body):
        return requests.post(self.base_url + path, json=body, headers=self.headers, timeout=self.timeout)

    def decide(self, user, order, placement="checkout"):
        """The entries to show, by flag. Without an answer: none."""
        try:
            answer = self._post("/v1/decisions", {"placement": placement, "user": user, "order": order})
            answer.raise_for_status()
            return {entry["flag"]: entry for entry in answer.json()["entries"] if entry["visible"]}
        except requests.RequestException:
            return {}

    def may_take(self, token, flag, shopper):
        """Whether a payment through `flag` may be taken for `shopper`: ask before it is made. No answer is a no."""
        try:
            answer = self._post("/v1/tokens/verify", {"token": token})
            answer.raise_for_status()
            told = answer.json()
        except requests.RequestException:
            return False
        open_now = told["valid"] and told["visible"] and told["open"]
        return open_now and (told["flag"], told["unit"]) == (flag, shopper)

    def report(self, events):
        """Sends events until they are stored. Ids are the shop's own, so a repetition counts once. Raises when huidu
        stays away: keep the events and send the same ones again, up to 31 days later."""
        for tries in range(1, RETRIES + 1):
            try:
                answer = self._post("/v1/events", {"events": events})
                if answer.status_code != 429 and answer.status_code < 500:
                    answer.raise_for_status()
                    return answer.json()
                wait = float(answer.headers.get("Retry-After", 0))
            except (requests.ConnectionError, requests.Timeout):
                wait = 0.0
            if tries < RETRIES:
                time.sleep(max(wait, 0.1 * 2**tries))
        raise ConnectionError("huidu took no events")

    def order_paid(self, order, shopper, amount, currency, method, token=None, at=None):
        """The order was paid, by whatever way; `amount` in the minor unit. `token`: it was paid through that entry."""
        at = (at or datetime.now(timezone.utc)).isoformat()
        step = {"type": "step", "order_id": order, "at": at}
        paid = {
            **step, "id": f"{order}-paid", "step": "order_paid", "user_id": shopper,
            "value": amount, "currency": currency, "attributes": {"payment_method": method},
        }
        through = {**step, "id": f"{order}-entry", "step": "entry_paid", "token": token}
        return self.report([paid, through] if token else [paid])

    def provider(self):
        """For single flags that are no entries: openfeature.api.set_provider(huidu.provider())."""
        return OFREPProvider(self.base_url, headers_factory=lambda: self.headers, timeout=self.timeout)
