//! A KMS that does not answer for a while.

use std::sync::mpsc;

use super::*;
use crate::kms::{EncryptionContext, KmsError, PlainKey, WrappedKey};

/// Answers only when it is told to.
struct HangingKms {
    kms: TestKms,
    entered: mpsc::SyncSender<()>,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Kms for HangingKms {
    fn generate_data_key(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        self.entered.send(()).expect("the test listens");
        self.gate.lock().expect("gate").recv().expect("the test opens the gate");
        self.kms.generate_data_key(master_key, spec, context)
    }
    fn check_can_generate(
        &self,
        master_key: &MasterKeyId,
        spec: KeySpec,
        context: &EncryptionContext,
    ) -> Result<(), KmsError> {
        self.kms.check_can_generate(master_key, spec, context)
    }
    fn encrypt(
        &self,
        master_key: &MasterKeyId,
        key: &[u8],
        context: &EncryptionContext,
    ) -> Result<WrappedKey, KmsError> {
        self.kms.encrypt(master_key, key, context)
    }
    fn decrypt_all(&self, wrapped: &[WrappedKey], until: Instant) -> Vec<Result<PlainKey, KmsError>> {
        self.kms.decrypt_all(wrapped, until)
    }
    fn decrypt(&self, wrapped: &WrappedKey) -> Result<PlainKey, KmsError> {
        self.kms.decrypt(wrapped)
    }
}

#[test]
fn a_hanging_call_holds_up_no_look_up_and_no_other_key_and_is_made_once_for_all_who_wait() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    let (entered, has_entered) = mpsc::sync_channel(10);
    let (open_gate, gate) = mpsc::channel();
    let kms = Arc::new(HangingKms { kms: TestKms::default(), entered, gate: Mutex::new(gate) });
    let store = &setup.open_as(Role::Server, kms.clone()).expect("open");
    std::thread::scope(|scope| {
        let waiting = [(); 3].map(|()| scope.spawn(move || store.latest_or_new(id(5)).expect("made")));
        has_entered.recv().expect("one of them has called");
        assert_eq!(store.published.latest(id(1)), Some(version(1)));
        // Another key's file is loaded while the call hangs.
        setup.put_key("aws-kms-key.6.1", 6);
        assert_eq!(store.latest_or_new(id(6)).expect("loaded"), version(1));
        assert_eq!(store.published.latest(id(5)), None);
        open_gate.send(()).expect("somebody waits");
        for thread in waiting {
            assert_eq!(thread.join().expect("no panic"), version(1));
        }
    });
    assert_eq!(kms.kms.calls().iter().filter(|call| **call == Generate).count(), 1);
}
