//! A region that gave no answer is left alone for a while, so that it costs one timeout and not one for each key.

use std::time::{Duration, Instant};

/// What is known of one region. Closed at first: the region is asked.
#[derive(Debug, Default)]
pub(super) struct Breaker(Option<Open>);

/// The region gave no answer.
#[derive(Debug)]
struct Open {
    /// What it failed with.
    why: String,
    pause: Duration,
    next_try: Instant,
    /// Whether it was told that another region answers in its place.
    is_told: bool,
}

/// How a region comes to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It answers, as far as is known.
    Usual,
    /// Its pause is over. Only this call is to find out whether it answers again; the others go elsewhere until then.
    Trial,
    /// It is left alone, but no other region did what was asked.
    LastResort,
}

impl Breaker {
    /// Whether the region is to be asked before those that are left alone.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match &mut self.0 {
            None => Admission::Usual,
            Some(open) if now >= open.next_try => {
                // If nothing is heard of the trial, there is another one later.
                open.next_try = now + open.pause;
                Admission::Trial
            }
            Some(_) => Admission::LastResort,
        }
    }

    /// The region has answered. Whether it is news: that another one took its place was told before.
    pub(super) fn answered(&mut self, admission: Admission) -> bool {
        // What was under way when the region failed says nothing of how it is now.
        admission != Admission::Usual && self.0.take().is_some_and(|open| open.is_told)
    }

    /// The region has given no answer, for this reason.
    pub(super) fn gave_no_answer(&mut self, admission: Admission, why: impl FnOnce() -> String, now: Instant) {
        match (&mut self.0, admission) {
            (Some(open), Admission::Trial) => {
                open.pause = (open.pause * 2).min(LONGEST_PAUSE);
                open.next_try = now + open.pause;
                open.why = why();
            }
            // The others were under way when it failed, or had nowhere else to go.
            (Some(_), _) => {}
            (None, _) => {
                let (pause, next_try) = (FIRST_PAUSE, now + FIRST_PAUSE);
                self.0 = Some(Open { why: why(), pause, next_try, is_told: false });
            }
        }
    }

    /// Another region has answered in its place. Why, if that is news.
    pub(super) fn was_replaced(&mut self) -> Option<String> {
        let open = self.0.as_mut().filter(|open| !open.is_told)?;
        open.is_told = true;
        Some(open.why.clone())
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::Admission::{LastResort, Trial, Usual};
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.admit(now), Usual);
        breaker.gave_no_answer(Usual, || "it hangs".to_owned(), now);
        breaker
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_region_without_an_answer_is_left_alone_and_then_tried_by_one_call() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now), LastResort);
        assert_eq!(breaker.admit(now + 59 * SECOND), LastResort);
        assert_eq!(breaker.admit(now + 60 * SECOND), Trial);
        assert_eq!(breaker.admit(now + 60 * SECOND), LastResort, "one call is enough");
        assert_eq!(breaker.admit(now + 119 * SECOND), LastResort);
        assert_eq!(breaker.admit(now + 120 * SECOND), Trial, "nothing was heard of the first");
    }

    #[test]
    fn the_pauses_double_up_to_ten_minutes_and_begin_anew_after_an_answer() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for pause in [60, 120, 240, 480, 600, 600] {
            assert_eq!(breaker.admit(now + (pause - 1) * SECOND), LastResort, "{pause}");
            now += pause * SECOND;
            assert_eq!(breaker.admit(now), Trial, "{pause}");
            breaker.gave_no_answer(Trial, String::new, now);
        }
        now += 600 * SECOND;
        assert_eq!(breaker.admit(now), Trial);
        breaker.answered(Trial);
        assert_eq!(breaker.admit(now), Usual);
        breaker.gave_no_answer(Usual, String::new, now);
        assert_eq!(breaker.admit(now + 60 * SECOND), Trial);
    }

    #[test]
    fn calls_that_were_under_way_neither_close_it_nor_prolong_its_pause() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.answered(Usual);
        for admission in [Usual, LastResort] {
            breaker.gave_no_answer(admission, || "later".to_owned(), now + 30 * SECOND);
        }
        assert_eq!(breaker.admit(now + 59 * SECOND), LastResort);
        assert_eq!(breaker.admit(now + 60 * SECOND), Trial);
    }

    #[test]
    fn a_last_resort_that_answers_is_back() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(!breaker.answered(LastResort), "nobody was told that it was gone");
        assert_eq!(breaker.admit(now), Usual);
    }

    #[test]
    fn that_it_is_replaced_and_that_it_is_back_is_told_once_each() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert_eq!(breaker.was_replaced(), None, "it did not fail");
        breaker.gave_no_answer(Usual, || "it hangs".to_owned(), now);
        assert_eq!(breaker.was_replaced(), Some("it hangs".to_owned()));
        assert_eq!(breaker.was_replaced(), None);
        breaker.gave_no_answer(Trial, || "it hangs still".to_owned(), now);
        assert_eq!(breaker.was_replaced(), None);
        assert!(breaker.answered(Trial));
        assert!(!breaker.answered(Usual));
    }
}
