"""Self test of the KMS emulator. Run it with the interpreter that has requirements.txt installed:
python test_kms_emulator.py
"""
import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError, SSLError

AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=key/20250101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0"
SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kms_emulator.py")


class Emulator:
    def __init__(self, *options):
        # Ending with this process, so that a test that fails leaves none behind.
        command = [sys.executable, SCRIPT, "--port", "0", "--die-with-parent", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = re.fullmatch(r"kms emulator ready on (https?://127\.0\.0\.1:\d+)\n", line)[1]

    def client(self, region="us-east-1", timeout=10, verify=None):
        config = Config(retries={"total_max_attempts": 1}, read_timeout=timeout)
        return boto3.client("kms", region_name=region, endpoint_url=self.url, config=config, verify=verify,
                            aws_access_key_id="test", aws_secret_access_key="test")

    def control(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_emulator/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def fault(self, operation, kind, **more):
        return self.control("POST", "fault", {"operation": operation, "kind": kind, **more})

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)  # Does nothing if it has ended.
        code = self.process.wait(timeout=3)
        self.process.stdout.close()
        return code


class EmulatorTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.emulator = Emulator("--key", "alias/demo", "--key", "alias/paris=eu-west-3")
        cls.kms = cls.emulator.client()
        cls.other_region = cls.emulator.client("eu-west-1")

    @classmethod
    def tearDownClass(cls):
        cls.emulator.stop()

    def setUp(self):
        self.emulator.control("DELETE", "fault")
        self.emulator.control("DELETE", "calls")

    def new_key(self, **options):
        return self.kms.create_key(**options)["KeyMetadata"]["Arn"]

    def wrap(self, key, plaintext=b"secret", **options):
        return self.kms.encrypt(KeyId=key, Plaintext=plaintext, **options)["CiphertextBlob"]

    def unwrap(self, blob, **options):
        return self.kms.decrypt(CiphertextBlob=blob, **options)["Plaintext"]

    def assert_refused(self, code, call, *arguments, status=400, **options):
        with self.assertRaises(ClientError) as caught:
            call(*arguments, **options)
        answer = caught.exception.response
        self.assertEqual((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]), (code, status))
        return answer

    def connect(self):
        connection = http.client.HTTPConnection(self.emulator.url.removeprefix("http://"), timeout=10)
        self.addCleanup(connection.close)
        return connection

    def post(self, operation, body=b"{}", authorization=AUTHORIZATION, connection=None):
        """Status, headers and body of an answer, as they came."""
        connection = connection or self.connect()
        headers = {"X-Amz-Target": f"TrentService.{operation}"}
        if authorization:
            headers["Authorization"] = authorization
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


class AsAwsIs(EmulatorTest):
    def test_data_keys_have_the_asked_size_and_decrypt(self):
        for wanted, size in (({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 24}, 24)):
            made = self.kms.generate_data_key(KeyId="alias/demo", **wanted)
            self.assertEqual(len(made["Plaintext"]), size)
            self.assertEqual(self.unwrap(made["CiphertextBlob"]), made["Plaintext"])
            made = self.kms.generate_data_key_without_plaintext(KeyId="alias/demo", **wanted)
            self.assertNotIn("Plaintext", made)
            self.assertEqual(len(self.unwrap(made["CiphertextBlob"])), size)

    def test_disabled_keys_and_keys_pending_deletion_do_nothing(self):
        key = self.new_key()
        blob = self.wrap(key)
        uses = [(self.kms.decrypt, {"CiphertextBlob": blob}),
                (self.kms.decrypt, {"CiphertextBlob": blob, "KeyId": key}),
                (self.kms.encrypt, {"KeyId": key, "Plaintext": b"x"}),
                (self.kms.generate_data_key, {"KeyId": key, "KeySpec": "AES_256"}),
                (self.kms.generate_data_key_without_plaintext, {"KeyId": key, "KeySpec": "AES_256"}),
                (self.kms.re_encrypt, {"CiphertextBlob": blob, "DestinationKeyId": "alias/demo"}),
                (self.kms.re_encrypt, {"CiphertextBlob": self.wrap("alias/demo"), "DestinationKeyId": key}),
                (self.kms.rotate_key_on_demand, {"KeyId": key})]
        self.kms.disable_key(KeyId=key)
        for call, options in uses:
            self.assert_refused("DisabledException", call, **options)
        self.kms.enable_key(KeyId=key)
        self.assertEqual(self.unwrap(blob), b"secret")
        self.kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        for call, options in [*uses, (self.kms.enable_key, {"KeyId": key}), (self.kms.disable_key, {"KeyId": key}),
                              (self.kms.schedule_key_deletion, {"KeyId": key, "PendingWindowInDays": 7})]:
            self.assert_refused("KMSInvalidStateException", call, **options)
        self.kms.cancel_key_deletion(KeyId=key)
        self.assert_refused("KMSInvalidStateException", self.kms.cancel_key_deletion, KeyId=key)
        self.assert_refused("DisabledException", self.kms.decrypt, CiphertextBlob=blob)

    def test_unknown_keys_are_not_found(self):
        unknown = self.new_key().replace(":key/", ":key/0")
        blob = self.wrap("alias/demo")
        for name in (unknown, unknown.split("/")[1], "alias/unknown", "nonsense", "arn:aws:kms", "arn:aws:s3:::bucket"):
            self.assert_refused("NotFoundException", self.kms.encrypt, KeyId=name, Plaintext=b"x")
            self.assert_refused("NotFoundException", self.kms.generate_data_key, KeyId=name, KeySpec="AES_256")
            self.assert_refused("NotFoundException", self.kms.decrypt, KeyId=name, CiphertextBlob=blob)

    def test_a_key_is_found_by_id_arn_alias_and_alias_arn(self):
        arn = self.new_key()
        self.kms.create_alias(AliasName="alias/names", TargetKeyId=arn)
        for name in (arn, arn.split("/")[1], "alias/names", arn.split(":key/")[0] + ":alias/names"):
            self.assertEqual(self.kms.describe_key(KeyId=name)["KeyMetadata"]["Arn"], arn)
            self.assertEqual(self.unwrap(self.wrap(name), KeyId=name), b"secret")

    def test_decrypt_under_another_key_is_an_incorrect_key(self):
        blob = self.wrap("alias/demo")
        self.assert_refused("IncorrectKeyException", self.kms.decrypt, CiphertextBlob=blob, KeyId=self.new_key())

    def test_no_damage_to_a_ciphertext_goes_unnoticed(self):
        blob = self.wrap("alias/demo")
        flipped = [blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1:] for at in range(len(blob))]
        cut = [blob[:length] for length in (1, 20, 60, len(blob) - 1)]
        for damaged in (*flipped, *cut, blob + b"x", b"garbage", os.urandom(184)):
            self.assert_refused("InvalidCiphertextException", self.kms.decrypt, CiphertextBlob=damaged)
        self.assert_refused("ValidationException", self.kms.decrypt, CiphertextBlob=b"x" * 6145)

    def test_encryption_contexts_are_bound_whole_and_in_any_order(self):
        blob = self.wrap("alias/demo", EncryptionContext={"ab": "c", "d": "e"})
        self.assertEqual(self.unwrap(blob, EncryptionContext={"d": "e", "ab": "c"}), b"secret")
        for other in ({}, {"ab": "c"}, {"a": "bc", "d": "e"}, {"ab": "cd", "e": ""}, {"AB": "c", "d": "e"}):
            self.assert_refused("InvalidCiphertextException", self.kms.decrypt, CiphertextBlob=blob,
                                EncryptionContext=other)
        self.assert_refused("InvalidCiphertextException", self.kms.decrypt, CiphertextBlob=self.wrap("alias/demo"),
                            EncryptionContext={"ab": "c"})

    def test_re_encrypt_moves_a_ciphertext_to_another_key_and_context(self):
        old, new = self.new_key(), self.new_key()
        blob = self.wrap(old, EncryptionContext={"a": "1"})
        wanted = {"CiphertextBlob": blob, "SourceEncryptionContext": {"a": "1"}, "DestinationKeyId": new,
                  "DestinationEncryptionContext": {"b": "2"}}
        moved = self.kms.re_encrypt(**wanted, SourceKeyId=old)
        self.assertEqual((moved["KeyId"], moved["SourceKeyId"]), (new, old))
        self.assertEqual(self.unwrap(moved["CiphertextBlob"], KeyId=new, EncryptionContext={"b": "2"}), b"secret")
        self.assert_refused("InvalidCiphertextException", self.kms.decrypt, CiphertextBlob=moved["CiphertextBlob"],
                            EncryptionContext={"a": "1"})
        for code, change in (("InvalidCiphertextException", {"SourceEncryptionContext": {}}),
                             ("InvalidCiphertextException", {"CiphertextBlob": b"garbage"}),
                             ("IncorrectKeyException", {"SourceKeyId": new}),
                             ("NotFoundException", {"DestinationKeyId": "alias/unknown"})):
            self.assert_refused(code, self.kms.re_encrypt, **wanted | change)

    def test_rotation_changes_the_material_and_old_ciphertexts_still_decrypt(self):
        with tempfile.TemporaryDirectory() as folder:
            state = os.path.join(folder, "state.json")
            emulator = Emulator("--state", state, "--key", "alias/rotated")
            self.addCleanup(emulator.stop)
            kms = emulator.client()
            key = emulator.control("GET", "keys")["keys"][0]["arn"]
            blobs = []
            for _ in range(3):
                blobs.append(kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"])
                kms.rotate_key_on_demand(KeyId=key)
            for blob in blobs:
                self.assertEqual(kms.decrypt(CiphertextBlob=blob)["Plaintext"], b"secret")
            with open(state, encoding="utf-8") as file:
                self.assertEqual(len(set(json.load(file)["keys"][0]["materials"])), 4)
            self.assertEqual(emulator.control("GET", "keys")["keys"][0]["rotations"], 3)
            self.assertEqual(len(kms.list_key_rotations(KeyId=key)["Rotations"]), 3)

    def test_keys_belong_to_the_region_that_signed_the_request(self):
        arn = self.other_region.create_key()["KeyMetadata"]["Arn"]
        self.assertTrue(arn.startswith("arn:aws:kms:eu-west-1:123456789012:key/"), arn)
        for name in (arn, arn.split("/")[1], "alias/paris"):
            self.assert_refused("NotFoundException", self.kms.encrypt, KeyId=name, Plaintext=b"x")
            self.assert_refused("NotFoundException", self.kms.describe_key, KeyId=name)
        refused = self.assert_refused("NotFoundException", self.kms.describe_key, KeyId=arn)
        self.assertEqual(refused["Error"]["Message"], "Invalid arn eu-west-1")
        blob = self.other_region.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
        self.assert_refused("AccessDeniedException", self.kms.decrypt, CiphertextBlob=blob)
        paris = self.emulator.client("eu-west-3").describe_key(KeyId="alias/paris")["KeyMetadata"]["Arn"]
        self.assertTrue(paris.startswith("arn:aws:kms:eu-west-3:"), paris)

    def test_replicas_of_a_multi_region_key_share_its_material(self):
        arn = self.new_key(MultiRegion=True)
        blob = self.wrap(arn)
        self.assert_refused("AccessDeniedException", self.other_region.decrypt, CiphertextBlob=blob)
        replica = self.kms.replicate_key(KeyId=arn, ReplicaRegion="eu-west-1")["ReplicaKeyMetadata"]["Arn"]
        self.assertEqual(replica, arn.replace("us-east-1", "eu-west-1"))
        self.kms.rotate_key_on_demand(KeyId=arn)
        for each in (blob, self.wrap(arn)):
            self.assertEqual(self.other_region.decrypt(CiphertextBlob=each)["Plaintext"], b"secret")
        self.assert_refused("UnsupportedOperationException", self.kms.replicate_key, KeyId="alias/demo",
                            ReplicaRegion="eu-west-1")

    def test_a_multi_region_key_with_its_replicas_is_made_on_request(self):
        wanted = {"alias": "alias/global", "replicas": ["eu-west-1"]}
        made = self.emulator.control("POST", "key", wanted)
        self.assertTrue(made["key_id"].startswith("mrk-"), made)
        self.assertEqual(self.emulator.control("POST", "key", wanted)["arn"], made["arn"])
        self.assertEqual(self.other_region.decrypt(CiphertextBlob=self.wrap(made["arn"]))["Plaintext"], b"secret")
        for wrong in ("eu-west-1", ["nowhere"]):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                self.emulator.control("POST", "key", wanted | {"replicas": wrong})
            self.assertEqual(refused.exception.code, 400)
            refused.exception.close()

    def test_each_answer_has_a_request_id_of_its_own(self):
        ids = [self.kms.describe_key(KeyId="alias/demo")["ResponseMetadata"]["RequestId"] for _ in range(2)]
        refused = self.assert_refused("NotFoundException", self.kms.describe_key, KeyId="alias/unknown")
        ids.append(refused["ResponseMetadata"]["RequestId"])
        self.assertEqual(len({i for i in ids if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", i)}), 3)

    def test_requests_that_are_not_signed_for_kms_are_refused(self):
        for code, operation, authorization, body in (
                ("MissingAuthenticationTokenException", "ListKeys", None, b"{}"),
                ("IncompleteSignatureException", "ListKeys", "Bearer x", b"{}"),
                ("InvalidSignatureException", "ListKeys", AUTHORIZATION.replace("us-east-1", "mars-1"), b"{}"),
                ("UnknownOperationException", "Nonsense", AUTHORIZATION, b"{}"),
                ("SerializationException", "ListKeys", AUTHORIZATION, b"not JSON"),
                ("SerializationException", "Decrypt", AUTHORIZATION, b'{"CiphertextBlob": "not base64"}')):
            status, headers, answer = self.post(operation, body, authorization)
            self.assertEqual((status, json.loads(answer)["__type"]), (400, code))
            self.assertTrue(headers["x-amzn-RequestId"])

    def test_connections_are_kept_open(self):
        connection = self.connect()
        self.assertEqual(self.post("ListKeys", connection=connection)[0], 200)
        first = connection.sock
        self.assertIsNotNone(first)
        self.assertEqual(self.post("ListKeys", connection=connection)[0], 200)
        self.assertIs(connection.sock, first)

    def test_only_symmetric_keys_can_be_made(self):
        self.assert_refused("UnsupportedOperationException", self.kms.create_key, KeySpec="RSA_2048",
                            KeyUsage="SIGN_VERIFY")


class ControlEndpoints(EmulatorTest):
    def test_error_faults_answer_as_aws_does_until_they_are_used_up(self):
        blob = self.wrap("alias/demo")
        for kind, code, status in (("throttle", "ThrottlingException", 400), ("error500", "KMSInternalException", 500),
                                   ("unavailable503", "ServiceUnavailableException", 503),
                                   ("access_denied", "AccessDeniedException", 400),
                                   ("expired_token", "ExpiredTokenException", 400)):
            self.emulator.fault("Decrypt", kind, times=2)
            for _ in range(2):
                self.assert_refused(code, self.kms.decrypt, CiphertextBlob=blob, status=status)
            self.assertEqual(self.unwrap(blob), b"secret")
        self.assertEqual(self.emulator.control("GET", "fault"), {"faults": []})

    def test_a_fault_can_have_any_code(self):
        self.emulator.fault("Encrypt", "code", code="KeyUnavailableException", message="later", status=500)
        answer = self.assert_refused("KeyUnavailableException", self.wrap, "alias/demo", status=500)
        self.assertEqual(answer["Error"]["Message"], "later")

    def test_a_fault_lasts_until_cleared_and_hits_only_its_operation(self):
        blob = self.wrap("alias/demo")
        self.emulator.fault("Decrypt", "throttle")
        for _ in range(5):
            self.assert_refused("ThrottlingException", self.kms.decrypt, CiphertextBlob=blob)
        self.wrap("alias/demo")
        self.emulator.control("DELETE", "fault")
        self.assertEqual(self.unwrap(blob), b"secret")
        self.emulator.fault("*", "throttle", times=1)
        self.assert_refused("ThrottlingException", self.kms.list_keys)

    def test_a_fault_can_be_restricted_to_a_key(self):
        key = self.new_key()
        other, demo = self.wrap(key), self.wrap("alias/demo")
        for name in (key, key.split("/")[1]):
            self.emulator.fault("Decrypt", "throttle", key=name, times=1)
            self.assertEqual(self.unwrap(demo), b"secret")
            self.assert_refused("ThrottlingException", self.kms.decrypt, CiphertextBlob=other)
        self.emulator.fault("Decrypt", "throttle", key="alias/demo")
        self.assertEqual(self.unwrap(other), b"secret")
        self.assert_refused("ThrottlingException", self.kms.decrypt, CiphertextBlob=demo)

    def test_a_fault_can_be_restricted_to_a_region(self):
        self.emulator.fault("*", "throttle", region="eu-west-1")
        self.kms.list_keys()
        self.assert_refused("ThrottlingException", self.other_region.list_keys)

    def test_a_fault_can_be_restricted_to_an_access_key(self):
        self.emulator.fault("*", "expired_token", access_key="another")
        self.kms.list_keys()
        self.emulator.fault("*", "expired_token", access_key="test")
        self.assert_refused("ExpiredTokenException", self.kms.list_keys)

    def test_a_delayed_call_is_answered_later(self):
        self.emulator.fault("Encrypt", "delay", seconds=0.5, times=1)
        started = time.monotonic()
        self.wrap("alias/demo")
        self.assertGreaterEqual(time.monotonic() - started, 0.5)

    def test_a_hanging_call_ends_when_the_client_leaves_and_blocks_nobody(self):
        self.emulator.fault("Encrypt", "hang", times=1)
        with self.assertRaises(ReadTimeoutError):
            self.emulator.client(timeout=0.5).encrypt(KeyId="alias/demo", Plaintext=b"x")
        self.wrap("alias/demo")
        self.wait_for_code("ClientLeft")

    def test_a_hanging_call_is_carried_out_when_the_faults_are_cleared(self):
        self.emulator.fault("Encrypt", "hang")
        blobs = []
        # boto3's pool has 10 connections, so each thread that hangs needs a client of its own.
        clients = [self.emulator.client() for _ in range(40)]
        threads = [threading.Thread(target=lambda kms=kms: blobs.append(
            kms.encrypt(KeyId="alias/demo", Plaintext=b"secret")["CiphertextBlob"])) for kms in clients]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while self.emulator.control("GET", "calls?operation=Encrypt")["count"] < 40:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        self.kms.list_keys()
        self.assertEqual(blobs, [])
        self.emulator.control("DELETE", "fault")
        for thread in threads:
            thread.join(10)
        self.assertEqual([self.unwrap(blob) for blob in blobs], [b"secret"] * 40)

    def wait_for_code(self, code):
        deadline = time.monotonic() + 5
        while code not in [call["code"] for call in self.emulator.control("GET", "calls")["calls"]]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_an_answer_can_be_cut(self):
        self.emulator.fault("ListKeys", "cut", times=1)
        with self.assertRaises(http.client.IncompleteRead) as caught:
            self.post("ListKeys")
        self.assertTrue(caught.exception.partial)
        self.assertEqual(self.post("ListKeys")[0], 200)

    def test_garbage_is_status_200_and_not_the_protocol(self):
        blob = self.wrap("alias/demo")
        for kind in ("garbage", "garbage_with_plaintext"):
            self.emulator.fault("Decrypt", kind, times=1)
            status, _, body = self.post("Decrypt", json.dumps({"CiphertextBlob": base64.b64encode(blob).decode()}))
            self.assertEqual(status, 200)
            self.assertRaises(ValueError, json.loads, body)
            self.assertEqual(base64.b64encode(b"secret") in body, kind == "garbage_with_plaintext")

    def test_a_plaintext_can_have_the_wrong_length(self):
        made = self.kms.generate_data_key(KeyId="alias/demo", KeySpec="AES_256")
        self.emulator.fault("Decrypt", "wrong_length", times=1)
        self.assertEqual(self.unwrap(made["CiphertextBlob"]), made["Plaintext"][:15])
        self.assertEqual(self.unwrap(made["CiphertextBlob"]), made["Plaintext"])

    def test_faults_that_make_no_sense_are_refused(self):
        for wrong in ({"kind": "nonsense"}, {"operation": "decrypt", "kind": "throttle"}, {"kind": "code"}, {},
                      {"kind": "throttle", "time": 3}, {"kind": "throttle", "times": 0}):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.emulator.control("POST", "fault", wrong)
            self.assertEqual(caught.exception.code, 400)
            self.assertIn("error", json.load(caught.exception))
            caught.exception.close()
        self.assertEqual(self.emulator.control("GET", "fault"), {"faults": []})

    def test_calls_are_listed_without_key_material(self):
        started = time.time()
        made = self.kms.generate_data_key(KeyId="alias/demo", KeySpec="AES_256", EncryptionContext={"a": "b"})
        arn = made["KeyId"]
        self.kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"})
        self.assert_refused("NotFoundException", self.kms.describe_key, KeyId="alias/unknown")
        self.emulator.fault("ListKeys", "throttle")
        self.assert_refused("ThrottlingException", self.other_region.list_keys)
        listed = self.emulator.control("GET", "calls")
        rows = [[call[field] for field in ("operation", "key", "named", "region", "status", "code", "fault",
                                           "encryption_context")] for call in listed["calls"]]
        self.assertEqual(rows, [
            ["GenerateDataKey", arn, "alias/demo", "us-east-1", 200, "OK", None, {"a": "b"}],
            ["Decrypt", arn, None, "us-east-1", 200, "OK", None, {"a": "b"}],
            ["DescribeKey", None, "alias/unknown", "us-east-1", 400, "NotFoundException", None, None],
            ["ListKeys", None, None, "eu-west-1", 400, "ThrottlingException", "throttle", None]])
        self.assertEqual(listed["count"], 4)
        self.assertEqual({call["access_key"] for call in listed["calls"]}, {"test"})
        self.assertTrue(all(started <= call["time"] <= time.time() for call in listed["calls"]))
        self.assertEqual(listed["calls"][0]["request_id"], made["ResponseMetadata"]["RequestId"])
        self.assertNotIn(base64.b64encode(made["Plaintext"]).decode(), json.dumps(listed))
        self.assertEqual(self.emulator.control("GET", "calls?operation=Decrypt")["count"], 1)
        self.assertEqual(self.emulator.control("DELETE", "calls"), {"count": 0, "calls": []})
        self.assertEqual(self.emulator.control("GET", "calls"), {"count": 0, "calls": []})

    def test_a_keys_state_can_be_set_and_a_missing_key_is_made(self):
        made = self.emulator.control("POST", "key", {"alias": "alias/made"})
        self.assertEqual((made["state"], made["aliases"], made["region"]), ("Enabled", ["alias/made"], "us-east-1"))
        blob = self.wrap("alias/made")
        for state, code in (("Disabled", "DisabledException"), ("PendingDeletion", "KMSInvalidStateException")):
            changed = self.emulator.control("POST", "key", {"alias": "alias/made", "state": state})
            self.assertEqual(changed, made | {"state": state})
            self.assertEqual(self.kms.describe_key(KeyId="alias/made")["KeyMetadata"]["KeyState"], state)
            self.assert_refused(code, self.kms.decrypt, CiphertextBlob=blob)
        self.assertIn(changed, self.emulator.control("GET", "keys")["keys"])
        self.emulator.control("POST", "key", {"alias": made["arn"], "state": "Enabled"})
        self.assertEqual(self.unwrap(blob), b"secret")
        elsewhere = self.emulator.control("POST", "key", {"alias": "alias/made", "region": "eu-west-1"})
        self.assertTrue(elsewhere["arn"].startswith("arn:aws:kms:eu-west-1:"), elsewhere)
        for wrong in ({"alias": "alias/made", "state": "Gone"}, {"state": "Enabled"}, {"alias": "alias/a b"},
                      {"alias": "alias/made", "region": "mars-1"}):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.emulator.control("POST", "key", wrong)
            self.assertEqual(caught.exception.code, 400)
            self.assertIn("error", json.load(caught.exception))
            caught.exception.close()

    def test_the_marker_is_the_next_data_keys_until_switched_off(self):
        known = bytes(range(32))
        self.assertEqual(self.emulator.control("POST", "marker", {"plaintext_hex": known.hex()}), {"active": True})
        first = self.kms.generate_data_key_without_plaintext(KeyId="alias/demo", KeySpec="AES_256")["CiphertextBlob"]
        second = self.kms.generate_data_key(KeyId="alias/demo", KeySpec="AES_256")
        self.assertEqual((self.unwrap(first), second["Plaintext"]), (known, known))
        self.assertNotEqual(first, second["CiphertextBlob"])
        self.assertEqual(self.emulator.control("POST", "marker", {"plaintext_hex": None}), {"active": False})
        third = self.kms.generate_data_key(KeyId="alias/demo", KeySpec="AES_256")["Plaintext"]
        self.assertNotEqual(third, known)


class Process(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = os.path.join(folder.name, "state.json")

    def start(self, *options):
        emulator = Emulator(*options)
        self.addCleanup(emulator.stop)
        return emulator

    def test_keys_survive_a_restart_with_the_same_state_file(self):
        context = {"a": "b"}
        first = self.start("--state", self.state, "--key", "alias/demo")
        kms = first.client()
        old = kms.encrypt(KeyId="alias/demo", Plaintext=b"secret", EncryptionContext=context)["CiphertextBlob"]
        kms.rotate_key_on_demand(KeyId=first.control("GET", "keys")["keys"][0]["arn"])
        new = kms.encrypt(KeyId="alias/demo", Plaintext=b"secret", EncryptionContext=context)["CiphertextBlob"]
        tagged = kms.create_key(Tags=[{"TagKey": "owner", "TagValue": "test"}], MultiRegion=True)["KeyMetadata"]["Arn"]
        kms.replicate_key(KeyId=tagged, ReplicaRegion="eu-west-1")
        first.control("POST", "key", {"alias": "alias/off", "state": "Disabled", "region": "eu-west-1"})
        first.control("POST", "key", {"alias": "alias/going", "state": "PendingDeletion"})
        keys = first.control("GET", "keys")
        described = kms.describe_key(KeyId=tagged)["KeyMetadata"]
        first.stop(signal.SIGKILL)  # Without a chance to save at exit.

        second = self.start("--state", self.state, "--key", "alias/demo", "--key", "alias/new")
        kms = second.client()
        listed = second.control("GET", "keys")["keys"]
        self.assertEqual([key for key in listed if key["aliases"] != ["alias/new"]], keys["keys"])
        self.assertEqual(len(listed), len(keys["keys"]) + 1)
        for blob in (old, new):
            self.assertEqual(kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"], b"secret")
        self.assertEqual(kms.list_resource_tags(KeyId=tagged)["Tags"], [{"TagKey": "owner", "TagValue": "test"}])
        self.assertEqual(kms.describe_key(KeyId=tagged)["KeyMetadata"], described)
        self.assertIn("DeletionDate", kms.describe_key(KeyId="alias/going")["KeyMetadata"])
        kms.rotate_key_on_demand(KeyId=tagged)
        blob = kms.encrypt(KeyId=tagged, Plaintext=b"secret")["CiphertextBlob"]
        self.assertEqual(second.client("eu-west-1").decrypt(CiphertextBlob=blob)["Plaintext"], b"secret")
        kms.delete_alias(AliasName="alias/new")
        self.assertEqual(second.stop(), 0)
        with open(self.state, encoding="utf-8") as file:
            aliases = [alias for key in json.load(file)["keys"] for alias in key["aliases"]]
        self.assertEqual(sorted(aliases), ["alias/demo", "alias/going", "alias/off"])
        self.assertEqual(os.stat(self.state).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(os.path.dirname(self.state)), ["state.json"])

    def test_signals_end_it_at_once_with_exit_code_0_even_when_calls_hang(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            emulator = self.start("--key", "alias/demo")
            emulator.fault("*", "hang")
            hanging = threading.Thread(target=self.expect_no_answer, args=(emulator.client(),))
            hanging.start()
            while emulator.control("GET", "calls")["count"] == 0:
                time.sleep(0.02)
            started = time.monotonic()
            self.assertEqual(emulator.stop(number), 0)
            self.assertLess(time.monotonic() - started, 1)
            hanging.join(5)
            self.assertFalse(hanging.is_alive())

    def expect_no_answer(self, kms):
        with self.assertRaises(Exception):
            kms.list_keys()

    def test_it_ends_with_its_parent_and_not_with_the_thread_that_started_it(self):
        script = ("import subprocess, sys, threading\n"
                  "start = lambda: print(subprocess.Popen([sys.executable, sys.argv[1], '--port', '0', "
                  "'--die-with-parent'], stdin=subprocess.DEVNULL).pid, flush=True)\n"
                  "thread = threading.Thread(target=start)\nthread.start()\nthread.join()\nsys.stdin.read()\n")
        parent = subprocess.Popen([sys.executable, "-c", script, SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True)
        self.addCleanup(parent.stdin.close)
        self.addCleanup(parent.stdout.close)
        self.addCleanup(parent.kill)
        emulator = int(parent.stdout.readline())
        self.addCleanup(self.kill_if_left, emulator)
        self.assertIn("ready", parent.stdout.readline())
        time.sleep(0.5)
        self.assertTrue(self.is_running(emulator))
        parent.kill()
        parent.wait(timeout=3)
        deadline = time.monotonic() + 3
        while self.is_running(emulator):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def kill_if_left(self, pid):
        if self.is_running(pid):
            os.kill(pid, signal.SIGKILL)

    @staticmethod
    def is_running(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def test_https_is_served_with_a_ca_of_its_own_and_with_faults_on_demand(self):
        for fault in (None, "expired", "other_name"):
            with tempfile.TemporaryDirectory() as folder:
                emulator = Emulator("--key", "alias/demo", "--tls", folder,
                                    *(["--tls-fault", fault] if fault else []))
                self.addCleanup(emulator.stop)
                self.assertTrue(emulator.url.startswith("https://"))
                kms = emulator.client(verify=os.path.join(folder, "ca.pem"))
                if fault:
                    with self.assertRaises(SSLError):
                        kms.describe_key(KeyId="alias/demo")
                else:
                    self.assertEqual(kms.describe_key(KeyId="alias/demo")["KeyMetadata"]["KeyState"], "Enabled")
                with self.assertRaises(SSLError):
                    emulator.client().describe_key(KeyId="alias/demo")

    def test_a_start_that_cannot_work_says_why(self):
        with open(self.state, "w", encoding="utf-8") as file:
            file.write("not JSON")
        for options, said in ((["--state", self.state], self.state), (["--key", "demo"], "demo"),
                              (["--key", "alias/demo=mars-1"], "mars-1")):
            done = subprocess.run([sys.executable, SCRIPT, "--port", "0", *options], capture_output=True, text=True,
                                  timeout=10)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(said, done.stderr)
            self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
