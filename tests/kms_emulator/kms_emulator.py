"""A local AWS KMS for the demo and the tests: moto's KMS, corrected, with a state file and fault injection.

What moto 5.2.5 does differently from AWS, and what is corrected here:

* It decrypts and makes data keys under disabled keys and keys pending deletion. Here: DisabledException,
  KMSInvalidStateException.
* A Decrypt that names another key than the ciphertext's answers AccessDeniedException. Here: IncorrectKeyException.
* It joins encryption contexts without separators, so {"ab": "c"} equals {"a": "bc"}. Here: canonical JSON.
* It never changes a key's material. Here RotateKeyOnDemand does, and older ciphertexts still decrypt.
* It ignores SourceKeyId of ReEncrypt, takes key ARNs of other regions, and fails on many calls that name a key by its
  ARN or alias. Here every key name is resolved once, within the region that signed the request.
* Ciphertexts of multi-region keys never decrypt. Here they do, in every region that has a replica.
* It knows no DryRun of GenerateDataKeyWithoutPlaintext. Here: DryRunOperationException instead of an answer.
* It forgets all keys at exit. Here `--state FILE` keeps them.
* It takes calls without an Authorization header, and closes each connection after one answer.
* It cannot fail on purpose. Here the control endpoints under /_emulator/ do that; README.md describes them.

Still not as AWS: signatures and policies are not checked, there are symmetric keys only, a key pending deletion is
never deleted, and grants are not kept in the state file. The files: aws_kms.py (the corrections), state.py, faults.py,
certificates.py (for HTTPS), and here the HTTP server.
"""
import os

PARENT = os.getppid()  # Taken before the slow imports: the parent may end while they run.

import argparse
import base64
import collections
import json
import logging
import signal
import socket
import sys
import threading
import time
import uuid

import flask
import moto.core.request
import waitress
import werkzeug.serving
from werkzeug.exceptions import HTTPException

sys.dont_write_bytecode = True  # No __pycache__ in the source tree.

import aws_kms
import certificates
import faults as fault_injection
from moto.kms.exceptions import InvalidCiphertextException, NotFoundException, ValidationException
from state import Store


class Request(moto.core.request.Request, flask.Request):
    from_wsgi_server = True


app = flask.Flask("kms_emulator")
app.request_class = Request
store = Store()
faults = fault_injection.Faults()
calls = collections.deque(maxlen=100_000)


@app.post("/")
def kms():
    call = {"time": time.time(), "operation": flask.request.headers.get("X-Amz-Target", "").split(".")[-1],
            "access_key": None, "region": None, "key": None, "named": None, "encryption_context": None, "fault": None, "status": None,
            "code": None, "request_id": str(uuid.uuid4())}
    calls.append(call)
    try:
        fault, cleared = faults.take(call, understand(call))
        call["fault"] = fault["kind"]
        if fault["kind"] == "delay":
            cleared.wait(fault["seconds"])
        if fault["kind"] == "hang" and client_left(cleared):
            call["code"] = "ClientLeft"
            return flask.Response(status=499)
        fault_injection.refuse(fault)
        status, body = carry_out()
    except HTTPException as error:
        status, body = error.code, error.get_body()
    except Exception:
        app.logger.exception("%s failed in the emulator", call["operation"])
        status, body = 500, json.dumps({"__type": "KMSInternalException", "message": "See the emulator's stderr."})
    call["status"] = status
    call["code"] = "OK" if status == 200 else json.loads(body)["__type"]
    if status == 200:
        body = fault_injection.spoil(call["fault"], body)
    answer = flask.Response(body, status, {"x-amzn-RequestId": call["request_id"]}, content_type=AWS_JSON)
    if call["fault"] == "cut":
        # waitress closes a connection whose answer is shorter than announced.
        answer.set_data(body[:len(body) // 2])
        answer.headers["Content-Length"] = len(body) + 1
    return answer


def understand(call):
    """Checks the form of the request, fills in the call's record, and returns the existing keys it concerns."""
    call["access_key"], call["region"] = aws_kms.credential(flask.request)
    if not aws_kms.is_operation(call["operation"]):
        raise aws_kms.aws_error("UnknownOperationException", "")
    try:
        params = json.loads(flask.request.get_data())
        blob = base64.b64decode(params.get("CiphertextBlob", ""), validate=True)
        base64.b64decode(params.get("Plaintext", ""), validate=True)
    except (AttributeError, TypeError, ValueError):
        raise aws_kms.aws_error("SerializationException", "Not a JSON object, or a blob in it is not base64.") from None
    names = [params[name] for name in aws_kms.KEY_PARAMETERS if params.get(name)]
    call["named"] = params.get("DestinationKeyId") or params.get("KeyId")
    call["encryption_context"] = params.get("EncryptionContext") or params.get("DestinationEncryptionContext")
    try:
        names.append(aws_kms.parse_blob(blob)[0])
    except InvalidCiphertextException:
        pass  # No ciphertext, or a damaged one: the call itself answers that.
    keys = []
    with store.lock:
        for name in names:
            try:
                keys.append(aws_kms.region_backend(call["region"]).find(name))
            except NotFoundException:
                pass  # Likewise.
    call["key"] = keys[0].arn if keys else None
    return keys


def client_left(cleared):
    """Waits until the faults are cleared (False) or the client is gone (True)."""
    left = flask.request.environ.get("waitress.client_disconnected", bool)
    while not cleared.wait(0.05) and not left():
        pass
    return left()


def carry_out():
    request = flask.request._get_current_object()
    with store.lock:
        status, _, body = aws_kms.Response.dispatch(request, request.url, dict(request.headers))
        store.save()
    return int(status), "" if body == "null" else body


@app.get("/_emulator/calls")
def list_calls():
    operation = flask.request.args.get("operation")
    found = [call for call in list(calls) if operation in (None, call["operation"])]
    return {"count": len(found), "calls": found}


@app.delete("/_emulator/calls")
def forget_calls():
    calls.clear()
    return list_calls()


@app.get("/_emulator/fault")
def list_faults():
    return {"faults": faults.active}


@app.post("/_emulator/fault")
def add_fault():
    faults.add(control_body())
    return list_faults()


@app.delete("/_emulator/fault")
def clear_faults():
    faults.clear()
    return list_faults()


@app.get("/_emulator/keys")
def list_keys():
    with store.lock:
        return {"keys": [describe(key) for key in aws_kms.all_keys()]}


@app.post("/_emulator/key")
def set_key_state():
    body = {"region": DEFAULT_REGION, "state": "Enabled", "replicas": []} | control_body()
    if body["state"] not in ("Enabled", "Disabled", "PendingDeletion"):
        raise ValidationException("state must be Enabled, Disabled or PendingDeletion")
    if not isinstance(body["replicas"], list):
        raise ValidationException("replicas must be a list of regions")
    with store.lock:
        key = aws_kms.ensure_key(str(body.get("alias")), body["region"], body["replicas"])
        aws_kms.set_state(key, body["state"])
        store.save()
        return describe(key)


@app.post("/_emulator/marker")
def set_marker():
    text = control_body().get("plaintext_hex")
    try:
        aws_kms.Backend.marker = bytes.fromhex(text) if text else None
    except (TypeError, ValueError):
        raise ValidationException("plaintext_hex must be hexadecimal digits, or null") from None
    return {"active": bool(text)}


@app.errorhandler(HTTPException)
def control_error(error):
    return {"error": getattr(error, "message", error.description)}, error.code


def control_body():
    body = flask.request.get_json(force=True)
    if not isinstance(body, dict):
        raise ValidationException("the body must be a JSON object")
    return body


def describe(key):
    return {"key_id": key.id, "arn": key.arn, "region": key.region, "state": key.key_state,
            "aliases": list(key.aliases), "rotations": len(key.materials) - 1}


def main():
    parser = argparse.ArgumentParser(description="A local AWS KMS for tests and the demo.")
    parser.add_argument("--port", type=int, required=True, help="0 picks a free port")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--state", metavar="FILE", help="keeps the keys over restarts; else they live in memory only")
    parser.add_argument("--key", action="append", default=[], metavar="ALIAS[=REGION]",
                        help=f"makes sure a key with this alias exists (region: {DEFAULT_REGION}); repeatable")
    parser.add_argument("--tls", metavar="FOLDER", help="HTTPS, with a CA made for it, whose certificate is FOLDER/ca.pem")
    parser.add_argument("--tls-fault", choices=certificates.FAULTS, help="what is wrong with the server's certificate")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the process that started it ends")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if options.die_with_parent:
        threading.Thread(target=watch_parent, daemon=True).start()
    logging.getLogger("waitress").setLevel(logging.ERROR)  # It warns of each answer that is cut on purpose.
    try:
        listener = socket.create_server((options.host, options.port))
        if options.state:
            store.load(options.state)
        for alias, _, region in (key.partition("=") for key in options.key):
            aws_kms.ensure_key(alias, region or DEFAULT_REGION)
        store.save()
        certificate = certificates.make(options.tls, options.tls_fault) if options.tls else None
    except HTTPException as error:
        sys.exit(f"kms emulator: --key: {error.message}")
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"kms emulator: cannot start on port {options.port} with state file {options.state}: {error!r}")
    if certificate:  # waitress knows no TLS. Calls that hang do so until the faults are cleared.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        run = werkzeug.serving.make_server(options.host, 0, app, threaded=True, ssl_context=(certificate, None),
                                           fd=listener.fileno()).serve_forever
    else:
        # With a lookahead, waitress notices that a client leaves while its call hangs.
        run = waitress.create_server(app, sockets=[listener], threads=128, connection_limit=1000,
                                     channel_request_lookahead=1, asyncore_use_poll=True, ident=None).run
    scheme = "https" if certificate else "http"
    print(f"kms emulator ready on {scheme}://{options.host}:{listener.getsockname()[1]}", flush=True)
    run()


def stop(*_):
    """Ends at once, whatever hangs, but not in the middle of a change to the state file."""
    store.lock.acquire(timeout=1)
    os._exit(0)


def watch_parent():
    # Not PR_SET_PDEATHSIG: it fires when the starting thread ends, and each Rust test is a thread. Not EOF on stdin: it
    # can be /dev/null, or a pipe that a third process holds open. The parent's id changes only if the process is gone.
    while os.getppid() == PARENT:
        time.sleep(0.2)
    stop()


DEFAULT_REGION = "us-east-1"
AWS_JSON = "application/x-amz-json-1.1"

if __name__ == "__main__":
    main()
