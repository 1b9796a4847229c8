"""moto's KMS, corrected where it differs from AWS (kms_emulator.py lists the differences).

`Backend` holds the keys of one region, `Response` is one call in the AWS JSON protocol.
Importing this module makes moto use both.
"""
import copy
import hashlib
import json
import os
import re
import struct
from datetime import timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import JsonRESTError
from moto.core.utils import camelcase_to_underscores, utcnow
from moto.kms import models
from moto.kms.exceptions import InvalidCiphertextException, NotFoundException, ValidationException
from moto.kms.responses import KmsResponse
from moto.utilities.utils import get_partition


class Backend(models.KmsBackend):
    marker = None  # Plaintext of every data key made from now on, in all regions.

    def find(self, name):
        """The key with this id, ARN, alias or alias ARN."""
        prefix = f"arn:{get_partition(self.region_name)}:kms:{self.region_name}:{self.account_id}:"
        if name.startswith("arn:"):
            if not name.startswith(prefix):
                raise NotFoundException(f"Invalid arn {(name.split(':') + [''] * 3)[3]}")
            name = name.removeprefix(prefix).removeprefix("key/")
        key_id = self.get_key_id_from_alias(name) if name.startswith("alias/") else name
        if key_id is None:
            raise NotFoundException(f"Alias {prefix}{name} is not found.")
        if key_id not in self.keys:
            raise NotFoundException(f"Key '{prefix}key/{key_id}' does not exist")
        return self.keys[key_id]

    def usable(self, name):
        key = self.find(name)
        if key.key_state == "Disabled":
            raise aws_error("DisabledException", f"{key.arn} is disabled.")
        refuse_pending_deletion(key)
        return key

    def owner(self, blob, named=None):
        """The usable key that made a ciphertext. `named` is the key the caller says it is."""
        if not 1 <= len(blob or b"") <= 6144:
            raise ValidationException("1 validation error detected: Value at 'ciphertextBlob' failed to satisfy "
                                      "constraint: Member must have length between 1 and 6144")
        key_id = parse_blob(blob)[0]
        if named and self.find(named).id != key_id:
            raise aws_error("IncorrectKeyException", "The key ID in the request does not identify a CMK that can "
                            "perform this operation.")
        if key_id not in self.keys:
            raise aws_error("AccessDeniedException", "The ciphertext refers to a customer master key that does not "
                            "exist, does not exist in this region, or you are not allowed to access.")
        return self.usable(key_id)

    def encrypt(self, key_id, plaintext, encryption_context):
        key = self.usable(key_id)
        if not 1 <= len(plaintext) <= 4096:
            raise ValidationException("1 validation error detected: Value at 'plaintext' failed to satisfy "
                                      "constraint: Member must have length between 1 and 4096")
        header = MAGIC + struct.pack(">BH", len(key.id), len(key.materials) - 1) + key.id.encode()
        iv = os.urandom(IV_LENGTH)
        sealed = AESGCM(key.materials[-1]).encrypt(iv, plaintext, header + canonical(encryption_context))
        return with_checksum(header + iv + sealed), key.arn

    def decrypt(self, ciphertext_blob, encryption_context, key_id=None):
        key = self.owner(ciphertext_blob, key_id)
        _, number, header, iv, sealed = parse_blob(ciphertext_blob)
        try:
            return AESGCM(key.materials[number]).decrypt(iv, sealed, header + canonical(encryption_context)), key.arn
        except (IndexError, InvalidTag):
            raise InvalidCiphertextException() from None

    def generate_data_key(self, key_id, encryption_context, number_of_bytes, key_spec):
        size = {"AES_128": 16, "AES_256": 32}.get(key_spec, number_of_bytes)
        plaintext = Backend.marker or os.urandom(size)
        return plaintext, *self.encrypt(key_id, plaintext, encryption_context)

    def rotate_key_on_demand(self, key_id):
        self.usable(key_id).materials.append(os.urandom(32))
        return super().rotate_key_on_demand(key_id)

    def create_key(self, policy, key_usage, key_spec, description, tags, multi_region=False, origin="AWS_KMS"):
        if (key_usage or USAGE, key_spec or SPEC, origin) != (USAGE, SPEC, "AWS_KMS"):
            raise aws_error("UnsupportedOperationException", "The emulator has symmetric encryption keys only.")
        key = super().create_key(policy, USAGE, SPEC, description, tags, bool(multi_region))
        key.materials = [key.key_material]
        return key

    def replicate_key(self, key_id, replica_region):
        if not self.usable(key_id).multi_region:
            raise aws_error("UnsupportedOperationException", f"{self.keys[key_id].arn} is not a multi-Region key.")
        replica = super().replicate_key(key_id, replica_region)
        # moto's copy is shallow: the material is to be shared, these are not.
        replica.aliases, replica.grants = {}, {}
        replica.multi_region_configuration = copy.deepcopy(replica.multi_region_configuration)
        replica.multi_region_configuration["MultiRegionKeyType"] = "REPLICA"
        return replica

    def enable_key(self, key_id):
        refuse_pending_deletion(self.keys[key_id])
        super().enable_key(key_id)

    def disable_key(self, key_id):
        refuse_pending_deletion(self.keys[key_id])
        super().disable_key(key_id)

    def schedule_key_deletion(self, key_id, pending_window_in_days):
        refuse_pending_deletion(self.keys[key_id])
        return super().schedule_key_deletion(key_id, pending_window_in_days)

    def cancel_key_deletion(self, key_id):
        if self.keys[key_id].key_state != "PendingDeletion":
            raise aws_error("KMSInvalidStateException", f"{self.keys[key_id].arn} is not pending deletion.")
        super().cancel_key_deletion(key_id)


class Response(KmsResponse):
    def get_region_from_url(self, request, full_url):
        return signing_region(request)

    def _get_param(self, param_name, if_none=None):
        value = super()._get_param(param_name, if_none)
        # So moto sees nothing but ids of keys that exist in this region.
        return self.kms_backend.find(value).id if value and param_name in KEY_PARAMETERS else value

    def generate_data_key_without_plaintext(self):
        answer = super().generate_data_key_without_plaintext()
        if self._get_param("DryRun"):
            raise aws_error("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.",
                            412)
        return answer

    def re_encrypt(self):
        self.kms_backend.owner(self._get_param("CiphertextBlob"), self._get_param("SourceKeyId"))
        return super().re_encrypt()


def with_checksum(body):
    """The checksum makes every damage an InvalidCiphertextException, damage to the key id too."""
    return body + hashlib.sha256(body).digest()[:CHECKSUM_LENGTH]


def parse_blob(blob):
    """Key id, number of the key material, header, IV and sealed data of a ciphertext."""
    body = blob[:-CHECKSUM_LENGTH]
    if not body.startswith(MAGIC) or with_checksum(body) != blob:
        raise InvalidCiphertextException()
    id_at = len(MAGIC) + 3
    id_length, number = struct.unpack_from(">BH", body, len(MAGIC))
    iv_at = id_at + id_length
    sealed_at = iv_at + IV_LENGTH
    return body[id_at:iv_at].decode(), number, body[:iv_at], body[iv_at:sealed_at], body[sealed_at:]


def canonical(encryption_context):
    return json.dumps(encryption_context or {}, sort_keys=True).encode()


def signing_region(request):
    """The region in the credential scope of the Authorization header."""
    return credential(request)[1]


def credential(request):
    """The access key id and the region in the credential scope of the Authorization header."""
    authorization = request.headers.get("Authorization")
    if not authorization:
        raise aws_error("MissingAuthenticationTokenException", "Missing Authentication Token")
    scope = re.search(r"Credential=([^/,\s]+)/\d+/([^/,\s]+)/kms/aws4_request", authorization)
    if not scope:
        raise aws_error("IncompleteSignatureException", "The Authorization header has no credential scope for kms.")
    if not is_region(scope[2]):
        raise aws_error("InvalidSignatureException", "Credential should be scoped to a valid region.")
    return scope[1], scope[2]


def is_region(name):
    return name in models.kms_backends[DEFAULT_ACCOUNT_ID]


def is_operation(name):
    return name[:1].isupper() and hasattr(models.KmsBackend, camelcase_to_underscores(name))


def region_backend(region):
    return models.kms_backends[DEFAULT_ACCOUNT_ID][region]


def all_keys():
    return [key for _, _, backend in models.kms_backends.iter_backends() for key in backend.keys.values()]


def ensure_key(name, region, replicas=()):
    """The key with this alias, made if it is missing. A key named by id or ARN must exist.

    With `replicas`, it is a multi-region key, and there will be one in each of these regions."""
    if not is_region(region):
        raise ValidationException(f"{region} is not an AWS region")
    backend = region_backend(region)
    if name.startswith("alias/") and not backend.alias_exists(name):
        if not re.fullmatch(r"alias/[a-zA-Z0-9/_-]+", name):
            raise ValidationException(f"{name} is not a valid alias")
        key = backend.create_key(None, None, None, f"made for {name}", None, multi_region=bool(replicas))
        backend.create_alias(key.id, name)
    key = backend.find(name)
    for replica in replicas:
        if not is_region(replica):
            raise ValidationException(f"{replica} is not an AWS region")
        if key.id not in region_backend(replica).keys:
            backend.replicate_key(key.id, replica)
    return key


def set_state(key, state):
    key.key_state, key.enabled = state, state == "Enabled"
    key.deletion_date = utcnow() + timedelta(days=30) if state == "PendingDeletion" else None


def refuse_pending_deletion(key):
    if key.key_state == "PendingDeletion":
        raise aws_error("KMSInvalidStateException", f"{key.arn} is pending deletion.")


def aws_error(code, message, status=400):
    error = JsonRESTError(code, message)
    error.code = status
    return error


MAGIC = b"\x01\x02\x02\x00emulated-kms"
IV_LENGTH = 12
CHECKSUM_LENGTH = 8
USAGE, SPEC = "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT"
KEY_PARAMETERS = ("DestinationKeyId", "KeyId", "SourceKeyId")

models.kms_backends.backend = Backend
models.generate_private_key = lambda key_spec: None  # An RSA key for each symmetric key would only cost time.
