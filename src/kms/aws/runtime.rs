//! The one thread that the AWS SDK's futures run on.
//!
//! The SDK needs more stack than a server thread has (up to 374 KB in a debug build, against the server's 292 KiB), so a
//! server thread hands over a task and waits on a channel with a deadline. It never polls a future itself.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use tokio::runtime;

/// A runtime with one worker, whose threads are named `aws-kms` and take none of the server's signals.
pub(super) struct Runtime {
    /// Taken out in drop only.
    tokio: Option<runtime::Runtime>,
}

impl Runtime {
    pub(super) fn start() -> io::Result<Self> {
        // A new thread inherits the mask of the thread that makes it, so there is no moment without the mask. What a
        // thread's own fault raises stays open, for the server's stack trace.
        let mut signals = SigSet::all();
        for own in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGFPE, Signal::SIGILL, Signal::SIGABRT, Signal::SIGTRAP] {
            signals.remove(own);
        }
        let _before = MaskBefore(signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?);
        let tokio = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("aws-kms")
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Self { tokio: Some(tokio) })
    }

    /// Runs `task`; waits for it until `deadline`, and a little longer for what the task's own timeouts do not bound
    /// (finding the region). `None` if it has not ended then.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        deadline: Instant,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let running = self.tokio.as_ref()?.spawn(async move {
            // The receiver is gone if the caller has given up: then nobody wants the answer.
            let _ = sender.send(task.await);
        });
        let patience = deadline.saturating_duration_since(Instant::now()) + GRACE;
        receiver.recv_timeout(patience).inspect_err(|_| running.abort()).ok()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(tokio) = self.tokio.take() {
            // Joins the threads. A task that hangs is waiting for the network and is dropped there. Only a look-up of a
            // name that the resolver does not answer is left to itself after this time.
            tokio.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

/// Gives the calling thread its mask back, also when tokio panics because no thread can be made.
struct MaskBefore(SigSet);

impl Drop for MaskBefore {
    fn drop(&mut self) {
        // It was the thread's mask before, so it is valid.
        let _ = self.0.thread_set_mask();
    }
}

/// Time for what no timeout of the SDK covers, before a waiting server thread gives up.
const GRACE: Duration = Duration::from_secs(5);
