"""Tell what CPython's email package makes of messages.

Standard input: messages, each after a line with its length in bytes. Standard
output: a JSON object a line, the facts of facts_test.go.
"""
import email, email.policy, email.utils, hashlib, json, sys
from email.header import decode_header, make_header


def squeeze(s):
    return " ".join(str(s).split())


def people(msg, name):
    # The newer header classes keep the blank between two encoded words of a name, against RFC 2047 6.2; the older
    # functions don't.
    pairs = email.utils.getaddresses(["".join(str(v).splitlines()) for v in msg.get_all(name, [])])
    return [{"name": squeeze(make_header(decode_header(n))), "addr": a} for n, a in pairs]


def content(part):
    data = part.get_payload(decode=True) or b""
    if part.get_content_maintype() == "text":
        text = data.decode(part.get_content_charset("us-ascii"))
        data = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").encode()
    return hashlib.sha256(data).hexdigest()[:16]


def walk(part, leaves, defects):
    defects += [type(d).__name__ for d in part.defects]
    typ = part.get_content_type()
    if part.is_multipart():
        return typ + "(" + ",".join(walk(p, leaves, defects) for p in part.get_payload()) + ")"
    leaves.append({
        "type": typ, "filename": squeeze(part.get_filename("")), "disposition": part.get_content_disposition() or "",
        "cid": (part["content-id"] or "").strip().strip("<>"), "digest": content(part),
    })
    return typ


for line in sys.stdin.buffer:
    raw = sys.stdin.buffer.read(int(line))
    try:
        # From bytes it takes UTF-8 in a header (RFC 6532) for an unknown charset, from text it does not.
        text = raw.decode("utf-8")
        msg = email.message_from_string(text, policy=email.policy.default)
        old = email.message_from_string(text)
        leaves, defects = [], []
        out = {
            "subject": squeeze(msg["subject"] or ""), "message_id": (msg["message-id"] or "").strip().strip("<>"),
            "date": int(msg["date"].datetime.timestamp()), "from": people(old, "from"), "to": people(old, "to"), "cc": people(old, "cc"),
            "structure": walk(msg, leaves, defects), "leaves": leaves, "defects": defects,
        }
    except Exception as e:
        out = {"error": repr(e)}
    sys.stdout.write(json.dumps(out) + "\n")
    sys.stdout.flush()
