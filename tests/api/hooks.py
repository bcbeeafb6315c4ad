"""What schemathesis cannot know: a format of lines, the present version of what is changed, and the codes of refusals."""

import json
import urllib.error
import urllib.request

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """Ids, one a line."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return json.dumps(value).encode()


def present_tag(case, headers):
    """The present version of what `case` changes, as its entity tag."""
    path = case.formatted_path
    for tail in ("/rollout", "/restore", "/archive", "/rollback", "/add", "/remove"):
        path = path.removesuffix(tail)
    request = urllib.request.Request(case.operation.base_url.rstrip("/") + path)
    for name in ("Authorization", "X-API-Key"):
        if name in headers:
            request.add_header(name, headers[name])
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.headers.get("ETag")
    except urllib.error.HTTPError:
        return None


@schemathesis.hook
def before_call(context, case, kwargs):
    """A well-formed precondition names the present version, so that changes are really made."""
    if case.headers and case.headers.get("If-Match") == '"1"':
        headers = {**(kwargs.get("headers") or {}), **case.headers}
        tag = present_tag(case, headers)
        if tag:
            case.headers["If-Match"] = tag


@schemathesis.check
def refused(ctx, response, case):
    """A refusal carries a code that the call names for its status."""
    definition = case.operation.responses.get(str(response.status_code))
    raw = getattr(definition, "definition", None) or {}
    codes = raw.get("x-codes")
    if codes and response.content:
        code = response.json().get("code")
        assert code in codes, f"{code} is not among the documented codes of {response.status_code}: {codes}"
