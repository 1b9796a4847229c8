//! What the emulator does besides being a KMS: faults, marker keys, and the list of calls.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Emulator, MASTER_KEY};

impl Emulator {
    /// From now on `operation` (`*`: every one) is answered after `pause`.
    pub fn delay(&self, operation: &str, pause: Duration) -> Result<()> {
        let fault = json!({"operation": operation, "kind": "delay", "seconds": pause.as_secs_f64()});
        self.post("_emulator/fault", &[], &fault).map(drop)
    }

    /// From now on, or for that many `times`, `operation` is answered as the `kind` of fault says.
    pub fn fault(&self, operation: &str, kind: &str, times: Option<u32>) -> Result<()> {
        self.post("_emulator/fault", &[], &json!({"operation": operation, "kind": kind, "times": times})).map(drop)
    }

    /// Ends all faults.
    pub fn clear_faults(&self) -> Result<()> {
        ureq::delete(format!("{}/_emulator/fault", self.endpoint)).call().context("clearing the emulator's faults")?;
        Ok(())
    }

    /// The next data keys are all this one; without one they are random again.
    pub fn marker(&self, key: Option<&[u8]>) -> Result<()> {
        let hex = key.map(|key| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        self.post("_emulator/marker", &[], &json!({"plaintext_hex": hex})).map(drop)
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) -> Result<()> {
        ureq::delete(format!("{}/_emulator/calls", self.endpoint)).call().context("clearing the list of calls")?;
        Ok(())
    }

    /// When calls of `operation` arrived, in seconds since 1970, in order.
    pub fn calls(&self, operation: &str) -> Result<Vec<f64>> {
        let url = format!("{}/_emulator/calls?operation={operation}", self.endpoint);
        let answer = ureq::get(url).call().context("asking for the list of calls")?;
        let answer: Value = serde_json::from_reader(answer.into_body().into_reader())?;
        let calls = answer["calls"].as_array().context("the emulator's list of calls")?;
        let mut times: Vec<f64> = calls.iter().filter_map(|call| call["time"].as_f64()).collect();
        ensure!(times.len() == calls.len(), "a call in the emulator's list has no time");
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// A new data key of 128 bits, as a key file holds it: asked of the KMS that the emulator is.
    pub fn wrapped_key(&self) -> Result<Vec<u8>> {
        let headers = [
            ("X-Amz-Target", "TrentService.GenerateDataKeyWithoutPlaintext"),
            ("Content-Type", "application/x-amz-json-1.1"),
            // The emulator takes the region from it and checks nothing else.
            ("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAEMULATOR/20260101/us-east-1/kms/aws4_request"),
        ];
        let answer = self.post("", &headers, &json!({"KeyId": MASTER_KEY, "KeySpec": "AES_128"}))?;
        let blob = answer["CiphertextBlob"].as_str().context("the emulator answered without a CiphertextBlob")?;
        Ok(BASE64_STANDARD.decode(blob)?)
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Result<Value> {
        let request = ureq::post(format!("{}/{path}", self.endpoint));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send(body.to_string()).with_context(|| format!("posting {body} to the emulator"))?;
        Ok(serde_json::from_reader(answer.into_body().into_reader())?)
    }
}
