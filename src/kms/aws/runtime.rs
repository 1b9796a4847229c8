//! The one thread that the AWS SDK's futures run on.
//!
//! The SDK needs more stack than a server thread has (up to 374 KB in a debug build, against the server's 292 KiB), so a
//! server thread hands over a task and waits on a channel with a deadline. It never polls a future itself.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::runtime;

use crate::{own_threads, waits};

/// A runtime with one worker, whose threads are named `aws-kms` and take none of the server's signals.
pub(super) struct Runtime {
    /// Taken out in drop only.
    tokio: Option<runtime::Runtime>,
}

impl Runtime {
    pub(super) fn start() -> io::Result<Self> {
        let tokio = own_threads::without_signals(|| {
            runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("aws-kms")
                .on_thread_start(own_threads::enter)
                .enable_io()
                .enable_time()
                .build()
        })?;
        Ok(Self { tokio: Some(tokio) })
    }

    /// Runs `task`; waits for it until `deadline`, and a little longer for what the task's own timeouts do not bound
    /// (finding the region). `None` if it has not ended then, or if the wait had to end.
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
        let answer = waits::receive(&receiver, deadline.max(Instant::now()) + GRACE);
        if answer.is_none() {
            running.abort();
        }
        answer
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(tokio) = self.tokio.take() {
            // Joins the threads. A task that hangs is waiting for the network and is dropped there. Only a look-up of a
            // name that the resolver does not answer is left to itself after this time.
            tokio.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

/// Time for what no timeout of the SDK covers, before a waiting server thread gives up.
const GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_up_that_the_resolver_does_not_answer_does_not_hold_up_the_end() {
        let runtime = Runtime::start().expect("a runtime");
        let (began, has_begun) = mpsc::channel();
        let (answer, resolver) = mpsc::channel::<()>();
        runtime.tokio.as_ref().expect("not dropped").spawn_blocking(move || {
            let _ = began.send(());
            let _ = resolver.recv_timeout(Duration::from_secs(60));
        });
        has_begun.recv().expect("a look-up");
        let began = Instant::now();
        drop(runtime);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        drop(answer);
    }
}
