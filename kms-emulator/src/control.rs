//! What the KMS emulator does besides being a KMS: faults, marker keys, the state of its master keys, and the list of calls.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// The control endpoints of a running emulator. `tests/kms_emulator/README.md` describes them.
#[derive(Clone, Debug)]
pub struct Control {
    endpoint: String,
}

impl Control {
    /// Those of the emulator that answers at the URL `endpoint`.
    pub fn at(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into() }
    }

    /// The emulator's URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From now on, calls fail in this way.
    pub fn fault(&self, fault: &Value) -> Result<()> {
        self.post("_emulator/fault", &[], fault).map(drop)
    }

    /// From now on `operation` (`*`: every one) is answered after `pause`.
    pub fn delay(&self, operation: &str, pause: Duration) -> Result<()> {
        self.fault(&json!({"operation": operation, "kind": "delay", "seconds": pause.as_secs_f64()}))
    }

    /// Ends all faults.
    pub fn clear_faults(&self) -> Result<()> {
        self.delete("fault")
    }

    /// Changes the state of a master key, named by its alias: `Enabled`, `Disabled` or `PendingDeletion`.
    pub fn key_state(&self, alias: &str, state: &str) -> Result<()> {
        self.post("_emulator/key", &[], &json!({"alias": alias, "state": state})).map(drop)
    }

    /// The ARN of the master key with this alias in `region`, made if it is missing. With `replicas`, it is a multi-region key
    /// that has a replica in each of these regions.
    pub fn master_key(&self, alias: &str, region: &str, replicas: &[&str]) -> Result<String> {
        let key = json!({"alias": alias, "region": region, "replicas": replicas});
        let answer = self.post("_emulator/key", &[], &key)?;
        Ok(answer["arn"].as_str().context("the emulator answered without an ARN")?.to_owned())
    }

    /// The next data keys are all this one; without one they are random again.
    pub fn marker(&self, key: Option<&[u8]>) -> Result<()> {
        let hex = key.map(|key| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        self.post("_emulator/marker", &[], &json!({"plaintext_hex": hex})).map(drop)
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) -> Result<()> {
        self.delete("calls")
    }

    /// When calls of `operation` arrived, in seconds since 1970, in order.
    pub fn calls(&self, operation: &str) -> Result<Vec<f64>> {
        let calls = self.list(&format!("calls?operation={operation}"))?;
        let mut times: Vec<f64> = calls.iter().filter_map(|call| call["time"].as_f64()).collect();
        ensure!(times.len() == calls.len(), "a call in the emulator's list has no time");
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// How many calls of `operation` were signed for `region`.
    pub fn calls_in(&self, operation: &str, region: &str) -> Result<usize> {
        let calls = self.list(&format!("calls?operation={operation}"))?;
        Ok(calls.iter().filter(|call| call["region"] == region).count())
    }

    /// The access keys that signed the calls so far, in order, each once in a row.
    pub fn access_keys(&self) -> Result<Vec<String>> {
        let calls = self.list("calls")?;
        let mut keys: Vec<String> =
            calls.iter().filter_map(|call| call["access_key"].as_str().map(str::to_owned)).collect();
        keys.dedup();
        Ok(keys)
    }

    /// A new data key of 128 bits, as a key file holds it: asked of the KMS that the emulator is.
    pub fn wrapped_key(&self, master_key: &str) -> Result<Vec<u8>> {
        let headers = [
            ("X-Amz-Target", "TrentService.GenerateDataKeyWithoutPlaintext"),
            ("Content-Type", "application/x-amz-json-1.1"),
            // The emulator takes the region from it and checks nothing else.
            ("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAEMULATOR/20260101/us-east-1/kms/aws4_request"),
        ];
        let answer = self.post("", &headers, &json!({"KeyId": master_key, "KeySpec": "AES_128"}))?;
        let blob = answer["CiphertextBlob"].as_str().context("the emulator answered without a CiphertextBlob")?;
        Ok(BASE64_STANDARD.decode(blob)?)
    }

    fn list(&self, calls: &str) -> Result<Vec<Value>> {
        let url = format!("{}/_emulator/{calls}", self.endpoint);
        let text = ureq::get(url).call().context("asking for the list of calls")?.body_mut().read_to_string()?;
        let answer: Value = serde_json::from_str(&text)?;
        Ok(answer["calls"].as_array().context("the emulator's list of calls")?.clone())
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Result<Value> {
        let mut request = ureq::post(format!("{}/{path}", self.endpoint));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let text = request.send(body.to_string()).with_context(|| format!("posting {body} to the emulator"))?;
        Ok(serde_json::from_str(&text.into_body().read_to_string()?)?)
    }

    fn delete(&self, what: &str) -> Result<()> {
        let url = format!("{}/_emulator/{what}", self.endpoint);
        ureq::delete(url).call().with_context(|| format!("clearing the emulator's {what}"))?;
        Ok(())
    }
}
