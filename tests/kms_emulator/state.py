"""The state file: keys, aliases and tags as JSON, with the key material in the clear."""
import base64
import json
import os
import threading
from datetime import datetime

from aws_kms import SPEC, USAGE, all_keys, models, region_backend


class Store:
    """`lock` is held by whoever reads or changes keys."""

    def __init__(self):
        self.lock = threading.RLock()
        self.path = None
        self.written = None

    def load(self, path):
        self.path = path
        if not os.path.exists(path):
            return
        with open(path, encoding="utf-8") as file:
            self.written = file.read()
        materials = {}
        for entry in json.loads(self.written)["keys"]:
            key = key_from(entry)
            # Replicas of a multi-region key share one list, so that a rotation reaches all of them.
            key.materials = materials.setdefault(key.id, key.materials)
            backend = region_backend(key.region)
            backend.keys[key.id] = key
            backend.tagger.tag_resource(key.id, entry["tags"])
            for alias in entry["aliases"]:
                backend.create_alias(key.id, alias)

    def save(self):
        """Replaces the file if anything changed. Call it before the answer that tells of the change goes out."""
        if not self.path:
            return
        text = json.dumps({"format": 1, "keys": [entry_of(key) for key in all_keys()]}, indent=1)
        if text != self.written:
            temporary = f"{self.path}.tmp"
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
            self.written = text


def entry_of(key):
    return {field: getattr(key, field) for field in FIELDS if hasattr(key, field)} | {
        "materials": [base64.b64encode(material).decode() for material in key.materials],
        "deletion_date": key.deletion_date and key.deletion_date.isoformat(),
        "aliases": list(key.aliases),
        "tags": region_backend(key.region).tagger.list_tags_for_resource(key.id)["Tags"],
    }


def key_from(entry):
    key = models.Key(entry["policy"], USAGE, SPEC, entry["description"], entry["account_id"], entry["region"])
    vars(key).update({field: entry[field] for field in FIELDS if field in entry})
    key.materials = [base64.b64decode(text) for text in entry["materials"]]
    key.deletion_date = entry["deletion_date"] and datetime.fromisoformat(entry["deletion_date"])
    return key


FIELDS = ("id", "arn", "region", "account_id", "policy", "description", "creation_date", "key_state", "enabled",
          "key_rotation_status", "rotations", "multi_region", "multi_region_configuration")
