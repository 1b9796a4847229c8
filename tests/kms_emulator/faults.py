"""Faults on demand: which calls fail, how, and how often."""
import base64
import json
import threading

from aws_kms import aws_error, is_operation
from moto.kms.exceptions import ValidationException


class Faults:
    def __init__(self):
        self.lock = threading.Lock()
        self.active = []
        self.cleared = threading.Event()

    def add(self, wanted):
        if unknown := wanted.keys() - DEFAULTS.keys():
            raise ValidationException(f"unknown fields: {', '.join(sorted(unknown))}")
        fault = DEFAULTS | wanted
        kind, times, operation = fault["kind"], fault["times"], fault["operation"]
        if kind not in KINDS:
            raise ValidationException(f"kind must be one of {', '.join(sorted(KINDS))}")
        if operation != "*" and not is_operation(operation):
            raise ValidationException(f"{operation} is not an operation of KMS")
        if times is not None and not (isinstance(times, int) and times > 0):
            raise ValidationException("times must be a number above 0, or null for ever")
        if (kind == "code") != (fault["code"] is not None):
            raise ValidationException("kind code needs a code, the other kinds take none")
        with self.lock:
            self.active.append(fault)

    def clear(self):
        """Removes all faults and wakes the calls that hang or are delayed."""
        with self.lock:
            self.active = []
            self.cleared.set()
            self.cleared = threading.Event()

    def take(self, call, keys):
        """The oldest fault that fits the call (or an empty one), and the event that ends its waiting."""
        names = {name for key in keys for name in (key.id, key.arn, *key.aliases)}
        with self.lock:
            for fault in self.active:
                if (fault["operation"] in ("*", call["operation"]) and fault["access_key"] in (None, call["access_key"])
                        and fault["region"] in (None, call["region"])
                        and (fault["key"] is None or fault["key"] in names)):
                    if fault["times"] is not None:
                        fault["times"] -= 1
                    self.active = [other for other in self.active if other["times"] != 0]
                    return fault, self.cleared
            return DEFAULTS, self.cleared


def refuse(fault):
    """Raises the error that KMS answers, if the fault is one."""
    if fault["kind"] == "code":
        raise aws_error(fault["code"], fault["message"], fault["status"])
    if fault["kind"] in ERRORS:
        status, code, message = ERRORS[fault["kind"]]
        raise aws_error(code, message, status)


def spoil(kind, body):
    """What becomes of the body of a good answer."""
    if kind == "garbage":
        return "<html><body>This is not KMS.</body></html>"
    if kind == "garbage_with_plaintext":
        return json.dumps(json.loads(body or "{}") | {"KeyId": 1})[:-1]
    if kind == "wrong_length" and "Plaintext" in body:
        answer = json.loads(body)
        plaintext = base64.b64decode(answer["Plaintext"]).ljust(15, b"\0")[:15]
        return json.dumps(answer | {"Plaintext": base64.b64encode(plaintext).decode()})
    return body


DEFAULTS = {"operation": "*", "kind": None, "times": None, "key": None, "access_key": None, "region": None, "seconds": 1, "code": None,
            "message": "Injected by the emulator", "status": 400}
ERRORS = {
    "throttle": (400, "ThrottlingException", "Rate exceeded"),
    "error500": (500, "KMSInternalException", "An internal error occurred."),
    "unavailable503": (503, "ServiceUnavailableException", "The service is unavailable. Try again later."),
    "access_denied": (400, "AccessDeniedException", "The caller is not authorized to perform this operation on the "
                      "resource because no identity-based policy allows it."),
    "expired_token": (400, "ExpiredTokenException", "The security token included in the request is expired"),
}
KINDS = {*ERRORS, "code", "hang", "delay", "cut", "garbage", "garbage_with_plaintext", "wrong_length"}
