//! One region after the other is asked, until one does what it is asked for, or says what no other could say better.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::breaker::Admission;
use super::calls;
use super::region_and_credentials::Connection;
use super::regions::{Regions, Route, Stop};
use super::settings::Remark;
use crate::kms::{AtStart, Call, Class, KmsError, PlainKey, WrappedKey};

/// Where a call is made, and how much time it has.
pub(super) struct Place {
    pub(super) connection: Arc<Connection>,
    /// As the route names it.
    pub(super) region: String,
    pub(super) until: Instant,
}

impl Regions {
    /// Does `call`, by `ask`, in the regions of `route`, until `until`.
    pub(super) async fn ask<T, F: Future<Output = Result<T, KmsError>>>(
        &self,
        call: Call,
        route: &Route,
        until: Instant,
        ask: impl Fn(Place) -> F,
    ) -> Result<T, KmsError> {
        if route.others.is_empty() {
            return ask(route.home.place(until)).await;
        }
        let mut left: Vec<usize> = (0..route.len()).collect();
        let mut failures = Failures::default();
        while let Some((place, stop, admission)) = route.next(&mut left, Instant::now()) {
            let until = until.min(Instant::now() + self.patience(until, left.len() + 1, route));
            let answer = tokio::time::timeout_at(until.into(), ask(stop.place(until))).await;
            let answer = answer.unwrap_or_else(|_| Err(stop.region.connection.no_answer(call)));
            self.learn(stop, admission, [answer.as_ref().map(drop)]);
            match answer {
                Ok(answer) => {
                    self.tell_of_replacement(route, place);
                    return Ok(answer);
                }
                Err(error) if settles(call, error.class, place, route) => return Err(error),
                Err(error) => failures.add(place, error),
            }
        }
        Err(failures.into_error().unwrap_or_else(|| route.home.region.connection.no_answer(call)))
    }

    /// Unwraps all `keys`, several at a time, until `until`; the answers are in the order of the keys.
    pub(super) async fn decrypt_all(
        self: Arc<Self>,
        keys: Vec<WrappedKey>,
        until: Instant,
    ) -> Vec<Result<PlainKey, KmsError>> {
        let routes = match tokio::time::timeout_at(until.into(), self.routes_of(&keys)).await {
            Ok(Ok(routes)) => routes,
            Ok(Err(error)) => return keys.iter().map(|_| Err(error.clone())).collect(),
            Err(_) => return keys.iter().map(|_| Err(self.no_answer(Call::Decrypt))).collect(),
        };
        let mut answers: Vec<Option<Result<PlainKey, KmsError>>> = keys.iter().map(|_| None).collect();
        let mut groups: Vec<(Route, Vec<usize>, Vec<WrappedKey>)> = Vec::new();
        for (index, (route, key)) in routes.into_iter().zip(keys).enumerate() {
            match groups.iter_mut().find(|(other, ..)| other.is_same(&route)) {
                Some((_, indices, keys)) => {
                    indices.push(index);
                    keys.push(key);
                }
                None => groups.push((route, vec![index], vec![key])),
            }
        }
        let mut tasks = JoinSet::new();
        for (route, indices, keys) in groups {
            let regions = self.clone();
            tasks.spawn(async move { (indices, regions.decrypt_group(&route, &keys, until).await) });
        }
        while let Some(done) = tasks.join_next().await {
            for (index, answer) in done.into_iter().flat_map(|(indices, found)| indices.into_iter().zip(found)) {
                if let Some(place) = answers.get_mut(index) {
                    *place = Some(answer);
                }
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(self.no_answer(Call::Decrypt)))).collect()
    }

    /// Unwraps keys of one route. A region that does not answer one of them is asked for no more of them, until all others
    /// have been asked.
    async fn decrypt_group(
        &self,
        route: &Route,
        keys: &[WrappedKey],
        until: Instant,
    ) -> Vec<Result<PlainKey, KmsError>> {
        let mut group = Group::new(route, keys);
        if route.others.is_empty() {
            self.decrypt_at(&route.home, (0, Admission::Usual), &mut group, until, None).await;
            return group.into_answers();
        }
        let mut left: Vec<usize> = (0..route.len()).collect();
        while group.is_open()
            && let Some((place, stop, admission)) = route.next(&mut left, Instant::now())
        {
            // The last share is for what comes below.
            let patience = self.patience(until, left.len() + 2, route);
            self.decrypt_at(stop, (place, admission), &mut group, until, Some(patience)).await;
        }
        for (place, stop) in route.stops().enumerate() {
            self.decrypt_at(stop, (place, Admission::LastResort), &mut group, until, None).await;
        }
        group.into_answers()
    }

    /// Asks one region for those keys of the group that it was not asked for, and that are still open.
    async fn decrypt_at(
        &self,
        stop: &Stop,
        (place, admission): (usize, Admission),
        group: &mut Group<'_>,
        until: Instant,
        patience: Option<Duration>,
    ) {
        let open = group.open(place);
        if open.is_empty() {
            return;
        }
        let keys: Vec<WrappedKey> = open.iter().filter_map(|index| group.keys.get(*index).cloned()).collect();
        let found = calls::decrypt_all(&stop.region.connection, &keys, until, patience).await;
        if !group.route.others.is_empty() {
            self.learn(stop, admission, found.iter().flatten().map(|answer| answer.as_ref().map(drop)));
            if found.iter().flatten().any(Result::is_ok) {
                self.tell_of_replacement(group.route, place);
            }
        }
        open.into_iter().zip(found).for_each(|(index, answer)| group.take(index, place, answer));
    }

    /// The time that one region gets for one call, if so many `shares` are to come.
    fn patience(&self, until: Instant, shares: usize, route: &Route) -> Duration {
        let share = |time: Duration, of: usize| time / u32::try_from(of).unwrap_or(u32::MAX);
        let left = until.saturating_duration_since(Instant::now());
        share(left, shares).min(share(self.timeouts.operation, route.len()))
    }

    /// Draws from answers of a region whether it is asked first the next time.
    fn learn<'a>(
        &self,
        stop: &Stop,
        admission: Admission,
        answers: impl IntoIterator<Item = Result<(), &'a KmsError>>,
    ) {
        let mut has_answered = false;
        for answer in answers {
            match answer {
                Err(error) if error.class.is_of_the_region() => {
                    return stop.region.breaker().gave_no_answer(admission, || error.to_string(), Instant::now());
                }
                _ => has_answered = true,
            }
        }
        if has_answered && stop.region.breaker().answered(admission) {
            self.goes_to(stop, &stop.name);
            (self.observer)(Remark::Note(format!("KMS in region {} answers again, and is asked first", stop.name)));
        }
    }

    /// What is asked in the region `of` goes to the region `name` from now on.
    fn goes_to(&self, of: &Stop, name: &str) {
        if self.is_default(of) {
            self.figures.set_region(name);
        }
    }

    /// The region at `place` of the route has done what those before it are there for.
    fn tell_of_replacement(&self, route: &Route, place: usize) {
        let Some(replacing) = route.stops().nth(place) else { return };
        for stop in route.stops().take(place) {
            let news = stop.region.breaker().was_replaced();
            if let Some(why) = news {
                self.goes_to(stop, &replacing.name);
                (self.observer)(Remark::Warning(format!(
                    "KMS in region {0} fails, and region {1} is asked in its place. {0} is tried again after a minute, and then \
                     in pauses of up to 10 minutes. {why}",
                    stop.name, replacing.name
                )));
            }
        }
    }
}

impl Stop {
    fn place(&self, until: Instant) -> Place {
        Place { connection: self.region.connection.clone(), region: self.name.clone(), until }
    }
}

impl Route {
    fn is_same(&self, other: &Self) -> bool {
        let names = |route: &Self| -> Vec<String> { route.stops().map(|stop| stop.name.clone()).collect() };
        self.is_of_replicas == other.is_of_replicas && names(self) == names(other)
    }
}

/// Whether no other region could say better than the one at `place` of a route why a call fails.
///
/// At home, that is all but no answer, and a master key that may be in another region. Elsewhere it is only that a wrapped
/// key is damaged, of which all replicas say the same: that a replica is missing, or must not be used, says nothing of the
/// master key at home.
fn settles(call: Call, class: Class, place: usize, route: &Route) -> bool {
    match (call, place) {
        (Call::Decrypt, 0) => !class.is_of_the_region() && !class.may_be_elsewhere(),
        (_, 0) => !class.is_of_the_region(),
        (Call::Decrypt, _) => route.is_of_replicas && class.at_start() == AtStart::FailKey,
        _ => false,
    }
}

/// What the regions of a route answered instead of doing what they were asked for.
#[derive(Default)]
struct Failures(Vec<(usize, KmsError)>);

impl Failures {
    fn add(&mut self, place: usize, error: KmsError) {
        self.0.push((place, error));
    }

    fn has(&self, place: usize) -> bool {
        self.0.iter().any(|(other, _)| *other == place)
    }

    /// That of the first region on the route, with the names of those of the others.
    fn into_error(mut self) -> Option<KmsError> {
        self.0.sort_by_key(|(place, _)| *place);
        let mut failures = self.0.into_iter().map(|(_, error)| error);
        let mut error = failures.next()?;
        for other in failures {
            let code = other.code.map(|code| format!(" ({code})")).unwrap_or_default();
            error.detail += &format!("; in region {}: {}{code}", other.region.unwrap_or_default(), other.class);
        }
        Some(error)
    }
}

/// Keys of one route, and what came of them so far.
struct Group<'a> {
    route: &'a Route,
    keys: &'a [WrappedKey],
    settled: Vec<Option<Result<PlainKey, KmsError>>>,
    failures: Vec<Failures>,
}

impl<'a> Group<'a> {
    fn new(route: &'a Route, keys: &'a [WrappedKey]) -> Self {
        let settled = keys.iter().map(|_| None).collect();
        Self { route, keys, settled, failures: keys.iter().map(|_| Failures::default()).collect() }
    }

    fn is_open(&self) -> bool {
        self.settled.iter().any(Option::is_none)
    }

    /// The keys to ask the region at `place` of the route for.
    fn open(&self, place: usize) -> Vec<usize> {
        let keys = self.settled.iter().zip(&self.failures).enumerate();
        keys.filter(|(_, (settled, failures))| settled.is_none() && !failures.has(place)).map(|(at, _)| at).collect()
    }

    fn take(&mut self, index: usize, place: usize, answer: Option<Result<PlainKey, KmsError>>) {
        let (Some(settled), Some(failures)) = (self.settled.get_mut(index), self.failures.get_mut(index)) else {
            return;
        };
        match answer {
            None => {}
            Some(Err(error)) if !settles(Call::Decrypt, error.class, place, self.route) => failures.add(place, error),
            Some(answer) => *settled = Some(answer),
        }
    }

    fn into_answers(self) -> Vec<Result<PlainKey, KmsError>> {
        let no_answer = || self.route.home.region.connection.no_answer(Call::Decrypt);
        let keys = self.settled.into_iter().zip(self.failures);
        let error = |mut failures: Failures| {
            // What the others say does not stand alone: the first region was not heard.
            if !failures.has(0) {
                failures.add(0, no_answer());
            }
            failures.into_error().unwrap_or_else(no_answer)
        };
        keys.map(|(settled, failures)| settled.unwrap_or_else(|| Err(error(failures)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::aws::AwsSettings;

    #[test]
    fn a_region_whose_pause_is_over_is_not_put_to_a_trial_when_nothing_is_left_to_ask() {
        let settings = AwsSettings {
            region: Some("us-east-1".to_owned()),
            fallback_regions: vec!["eu-west-1".to_owned()],
            ..AwsSettings::default()
        };
        let regions = Regions::new(settings, Box::new(|_| ()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let route = regions.route_of(&WrappedKey::new(vec![1])).await.expect("a route");
            let (now, west) = (Instant::now(), route.stops().last().expect("a region"));
            let over = now - Duration::from_secs(61);
            west.region.breaker().gave_no_answer(Admission::Usual, String::new, over);
            assert!(regions.decrypt_group(&route, &[], now + Duration::from_secs(60)).await.is_empty());
            assert_eq!(west.region.breaker().admit(now), Admission::Trial);
        });
    }
}
