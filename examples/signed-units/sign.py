import hashlib, hmac, os, sys


def unit_signature(secret: str, user_id: str) -> str:
    return hmac.new(secret.encode(), user_id.encode(), hashlib.sha256).hexdigest()


print(unit_signature(os.environ["UNIT_SECRET"], sys.argv[1]))
