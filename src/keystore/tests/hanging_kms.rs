//! A KMS that does not answer for a while.

use std::sync::mpsc;

use super::super::test_kms::WhileMaking;
use super::*;

#[test]
fn a_hanging_call_holds_up_no_look_up_and_no_other_key_and_is_made_once_for_all_who_wait() {
    let setup = Setup::new();
    setup.put_key("aws-kms-key.1.1", 1);
    let (entered, has_entered) = mpsc::sync_channel(10);
    let (open_gate, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    // It answers only when it is told to.
    let kms = Arc::new(WhileMaking(Arc::default(), move || {
        entered.send(()).expect("the test listens");
        gate.lock().expect("gate").recv().expect("the test opens the gate");
        Ok(())
    }));
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
    assert_eq!(kms.0.calls().iter().filter(|call| **call == Generate).count(), 1);
}
