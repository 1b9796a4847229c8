"""KMS by plain calls of boto3, as somebody else's tool would make them.

boto.py generate FILE   writes the CiphertextBlob of GenerateDataKeyWithoutPlaintext, raw
boto.py decrypt FILE    prints the data key in such a file, in hexadecimal
"""
import os
import sys

import boto3

kms = boto3.client("kms", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{os.environ['KMS_EMULATOR_PORT']}")
action, name = sys.argv[1:]
if action == "generate":
    answer = kms.generate_data_key_without_plaintext(KeyId="alias/mariadb-test", KeySpec="AES_128")
    with open(name, "xb") as file:
        file.write(answer["CiphertextBlob"])
elif action == "decrypt":
    with open(name, "rb") as file:
        print(kms.decrypt(CiphertextBlob=file.read())["Plaintext"].hex())
else:
    sys.exit(__doc__)
