//! The KMS emulator, started for one test, which fails where the emulator does not do what it is told.

use tempfile::TempDir;

/// Runs until it is dropped.
pub struct Emulator {
    emulator: ::kms_emulator::Emulator,
    _folder: TempDir,
}

impl Emulator {
    /// With the master key [`MASTER_KEY`] in us-east-1.
    pub fn start() -> Self {
        Self::start_with(MASTER_KEY)
    }

    /// With the master key `key`, an alias or `ALIAS=REGION`.
    pub fn start_with(key: &str) -> Self {
        Self::start_as(&["--key", key])
    }

    /// With HTTPS, and with the options `more`; the certificate of its CA is `FOLDER/ca.pem`. Its control endpoints are
    /// out of reach.
    #[allow(dead_code)] // not every test has HTTPS
    pub fn start_tls(folder: &str, more: &[&str]) -> Self {
        Self::start_as(&[&["--key", MASTER_KEY, "--tls", folder], more].concat())
    }

    fn start_as(options: &[&str]) -> Self {
        let python = ::kms_emulator::python().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let emulator = ::kms_emulator::Emulator::start_as(&python, folder.path(), options).unwrap();
        Self { emulator, _folder: folder }
    }

    /// The endpoint.
    pub fn url(&self) -> &str {
        self.emulator.endpoint()
    }

    /// From now on, calls fail in this way; `fault` is JSON, as the emulator's README describes it.
    pub fn fault(&self, fault: &str) {
        self.control().fault(&serde_json::from_str(fault).unwrap()).unwrap();
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.control().clear_faults().unwrap();
    }

    /// Changes the state of the master key: `Enabled`, `Disabled` or `PendingDeletion`.
    pub fn set_key_state(&self, state: &str) {
        self.control().key_state(MASTER_KEY, state).unwrap();
    }

    /// The next data keys are all this one, given in hexadecimal digits.
    pub fn set_marker(&self, hex: &str) {
        let digits = (0..hex.len()).step_by(2).map(|place| &hex[place..place + 2]);
        let key: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        self.control().marker(Some(&key)).unwrap();
    }

    /// How often an operation was called so far.
    pub fn count(&self, operation: &str) -> usize {
        self.control().calls(operation).unwrap().len()
    }

    /// The access keys that signed the calls so far, in order, each once.
    #[allow(dead_code)] // not every test asks
    pub fn access_keys(&self) -> Vec<String> {
        self.control().access_keys().unwrap()
    }

    /// What it does besides being a KMS.
    #[allow(dead_code)] // not every test needs more than the functions above
    pub fn control(&self) -> &::kms_emulator::Control {
        self.emulator.control()
    }
}

/// The alias of the emulator's master key.
pub const MASTER_KEY: &str = "alias/test";
