//! Counts one call of KMS, and the attempts that the SDK makes of it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aws_runtime::retries::classifiers::THROTTLING_ERRORS;
use aws_sdk_kms::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::{BoxError, ProvideErrorMetadata};

use crate::kms::{Call, Figures};

/// A call that is under way. If it is dropped before its end, it was cancelled, or given up because its time was over: only
/// that is a failure.
pub(super) struct Counting {
    figures: Arc<Figures>,
    call: Call,
    began: Instant,
    until: Instant,
    has_ended: bool,
}

/// Counts the attempts of one call, whose errors are of the type `E`.
#[derive(Debug)]
pub(super) struct Attempts<E> {
    figures: Arc<Figures>,
    call: Call,
    was_sent: AtomicBool,
    error: PhantomData<fn(E)>,
}

impl Counting {
    /// A call begins, which has time until `until`.
    pub(super) fn begin(figures: &Arc<Figures>, call: Call, until: Instant) -> Self {
        figures.began(call);
        Self { figures: figures.clone(), call, began: Instant::now(), until, has_ended: false }
    }

    /// To be given to the SDK with the call.
    pub(super) fn attempts<E>(&self) -> Attempts<E> {
        Attempts {
            figures: self.figures.clone(),
            call: self.call,
            was_sent: AtomicBool::new(false),
            error: PhantomData,
        }
    }

    /// The call has ended.
    pub(super) fn end<T, E>(mut self, answer: &Result<T, E>) {
        self.note_end(answer.is_err());
    }

    fn note_end(&mut self, has_failed: bool) {
        self.has_ended = true;
        self.figures.ended(self.call, has_failed, self.began.elapsed());
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if !self.has_ended && Instant::now() >= self.until {
            self.note_end(true);
        }
    }
}

impl<E> Intercept for Attempts<E>
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        "Attempts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.was_sent.swap(true, Ordering::Relaxed) {
            self.figures.retried(self.call);
        }
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let error = context.output_or_error().and_then(Result::err).and_then(|error| error.as_operation_error());
        let code = error.and_then(|error| error.downcast_ref::<E>()).and_then(ProvideErrorMetadata::code);
        if code.is_some_and(|code| THROTTLING_ERRORS.contains(&code)) {
            self.figures.throttled(self.call);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kms::Calls;

    #[test]
    fn a_call_that_is_dropped_has_failed_only_if_its_time_was_over() {
        let (figures, now) = (Arc::new(Figures::default()), Instant::now());
        drop(Counting::begin(&figures, Call::Decrypt, now + Duration::from_secs(3600)));
        let cancelled = figures.calls(Call::Decrypt);
        assert_eq!(cancelled, Calls { calls: 1, ..Calls::default() });
        drop(Counting::begin(&figures, Call::Decrypt, now));
        assert_eq!((figures.calls(Call::Decrypt).calls, figures.calls(Call::Decrypt).failed), (2, 1));
        Counting::begin(&figures, Call::Decrypt, now).end::<(), ()>(&Ok(()));
        assert_eq!((figures.calls(Call::Decrypt).calls, figures.calls(Call::Decrypt).failed), (3, 1));
    }
}
