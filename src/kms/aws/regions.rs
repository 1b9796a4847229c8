//! Which regions are asked about a master key, and in which order.
//!
//! A name that tells its region is asked about there; any other one in the default region. A multi-region key may have
//! replicas in the fallback regions. Of a wrapped key whose master key nobody knows, all regions that the settings name
//! may know something: they are asked in turn until one unwraps it. That is not remembered: such keys are rare, the pauses
//! between their tries are long, and a permission may turn up late in any of the regions.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::breaker::{Admission, Breaker};
use super::region_and_credentials::Connection;
use super::settings::{AwsSettings, Remark, Timeouts};
use crate::kms::{Call, Figures, KmsError, MasterKeyId, WrappedKey};

/// Told what an operator has to know while calls go on. Called on the runtime's thread.
pub(super) type Observer = Box<dyn Fn(Remark) + Send + Sync>;

/// KMS in all regions that are needed, each with a connection of its own, made when it is first asked.
pub(super) struct Regions {
    settings: AwsSettings,
    pub(super) timeouts: Timeouts,
    default: Arc<Region>,
    others: Mutex<BTreeMap<String, Arc<Region>>>,
    /// The region of each multi-region key, by its id, as settings name it. It comes before what a manifest says: that may
    /// be of a replica that answered once, or of the place that a datadir was copied from.
    homes: Mutex<HashMap<String, String>>,
    pub(super) observer: Observer,
    /// Of the calls in all regions.
    pub(super) figures: Arc<Figures>,
}

/// KMS in one region.
pub(super) struct Region {
    pub(super) connection: Arc<Connection>,
    breaker: Mutex<Breaker>,
}

/// The regions that may do what a call asks for, the most likely one first. There is at least one.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) home: Stop,
    pub(super) others: Vec<Stop>,
    /// Whether it is about a multi-region key, whose replicas are all the same.
    pub(super) is_of_replicas: bool,
}

/// A region of a route. Its name is empty if it is the only one, and nobody needs to know.
#[derive(Clone)]
pub(super) struct Stop {
    pub(super) name: String,
    pub(super) region: Arc<Region>,
}

impl Regions {
    /// Reads no configuration and calls nothing before the first call of KMS.
    pub(super) fn new(settings: AwsSettings, observer: Observer) -> Self {
        let home = |key: &MasterKeyId| Some((key.multi_region_id()?.to_owned(), key.region()?.to_owned()));
        // The first one that is named counts.
        let homes = settings.master_keys().filter_map(home).collect::<Vec<_>>().into_iter().rev().collect();
        let figures = Arc::<Figures>::default();
        Self {
            timeouts: settings.timeouts(),
            default: Region::new(Connection::new(settings.clone(), figures.clone())),
            others: Mutex::default(),
            homes: Mutex::new(homes),
            settings,
            observer,
            figures,
        }
    }

    /// The default region, if it is known already: it is found by the first call.
    pub(super) fn default_region_now(&self) -> Option<String> {
        self.default.connection.region_now()
    }

    pub(super) fn settings(&self) -> &AwsSettings {
        &self.settings
    }

    /// Of a call that was given up, of which nothing else is known.
    pub(super) fn no_answer(&self, call: Call) -> KmsError {
        self.default.connection.no_answer(call)
    }

    /// For a new data key under `master_key`. What an alias is, each region says for itself, so only a name that is a
    /// multi-region key's for certain has replicas.
    pub(super) async fn route_to(&self, master_key: &MasterKeyId, call: Call) -> Result<Route, KmsError> {
        let replicas = master_key.multi_region_id().map(|id| (id, self.settings.fallback_regions.as_slice()));
        if let (Some(region), Some((id, _))) = (master_key.region(), replicas) {
            self.homes().insert(id.to_owned(), region.to_owned());
        }
        let fallbacks = replicas.map(|(_, fallbacks)| fallbacks).unwrap_or_default();
        let default = match master_key.region() {
            None if fallbacks.is_empty() => String::new(),
            _ => self.default_region(call).await?,
        };
        let home = master_key.region().unwrap_or(&default);
        let names = [home].into_iter().chain(fallbacks.iter().map(String::as_str));
        Ok(self.route(names, &default, replicas.is_some()))
    }

    /// For the unwrapping of each of `keys`.
    pub(super) async fn routes_of(&self, keys: &[WrappedKey]) -> Result<Vec<Route>, KmsError> {
        let of_environment: Vec<String> = self.region_of_environment().into_iter().collect();
        let candidates: Vec<&str> =
            self.settings.named_regions().chain(of_environment.iter().map(String::as_str)).collect();
        let has_arn = keys.iter().any(|key| key.master_key().is_some_and(|master_key| master_key.region().is_some()));
        let needs_default = has_arn || !candidates.is_empty() || !self.settings.fallback_regions.is_empty();
        let default = if needs_default { self.default_region(Call::Decrypt).await? } else { String::new() };
        let homes = self.homes().clone();
        // Thousands of keys have a few master keys.
        let mut known: HashMap<Option<&str>, Route> = HashMap::new();
        let route = |master_key: Option<&MasterKeyId>| {
            let fallbacks = self.settings.fallback_regions.iter().map(String::as_str);
            let Some((master_key, region)) = master_key.and_then(|key| Some((key, key.region()?))) else {
                return self.route([&*default].into_iter().chain(fallbacks).chain(candidates.clone()), &default, false);
            };
            match master_key.multi_region_id() {
                Some(id) => {
                    let home = homes.get(id).map(String::as_str);
                    let names = home.into_iter().chain([&*default, region]).chain(fallbacks);
                    self.route(names, &default, true)
                }
                None => self.route([region], &default, false),
            }
        };
        let routes = keys.iter().map(|key| {
            let name = key.master_key().map(MasterKeyId::as_str);
            known.entry(name).or_insert_with(|| route(key.master_key())).clone()
        });
        Ok(routes.collect())
    }

    /// For the unwrapping of one key.
    pub(super) async fn route_of(&self, key: &WrappedKey) -> Result<Route, KmsError> {
        let routes = self.routes_of(std::slice::from_ref(key)).await?;
        Ok(routes.into_iter().next().unwrap_or_else(|| self.route([], "", false)))
    }

    /// `names` without those that are there twice. `default` is the default region's name.
    fn route<'a>(&self, names: impl IntoIterator<Item = &'a str>, default: &str, is_of_replicas: bool) -> Route {
        let mut stops: Vec<Stop> = Vec::new();
        for name in names {
            if stops.iter().all(|stop| stop.name != name) {
                stops.push(Stop { name: name.to_owned(), region: self.region(name, default) });
            }
        }
        let mut stops = stops.into_iter();
        let home = stops.next().unwrap_or_else(|| Stop { name: default.to_owned(), region: self.default.clone() });
        Route { home, others: stops.collect(), is_of_replicas }
    }

    fn region(&self, name: &str, default: &str) -> Arc<Region> {
        if name == default {
            return self.default.clone();
        }
        // Each entry is inserted as a whole.
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let region = || Region::new(Connection::to_region(self.settings.clone(), name, self.figures.clone()));
        others.entry(name.to_owned()).or_insert_with(region).clone()
    }

    pub(super) fn is_default(&self, stop: &Stop) -> bool {
        Arc::ptr_eq(&stop.region, &self.default)
    }

    /// The default region's name, which the SDK may have to look for.
    async fn default_region(&self, call: Call) -> Result<String, KmsError> {
        match self.settings.default_region() {
            Some(region) => Ok(region.to_owned()),
            None => Ok(self.default.connection.client(call).await?.region.clone()),
        }
    }

    /// The region that would be the default one, if the master key's name had not told another.
    fn region_of_environment(&self) -> Option<String> {
        let is_of_master_key = self.settings.region.is_none() && self.settings.default_region().is_some();
        let names = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().filter(|_| is_of_master_key);
        names.filter_map(|name| env::var(name).ok()).find(|region| !region.is_empty())
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Region {
    fn new(connection: Connection) -> Arc<Self> {
        Arc::new(Self { connection: Arc::new(connection), breaker: Mutex::default() })
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    /// All of its regions, the most likely one first.
    pub(super) fn stops(&self) -> impl Iterator<Item = &Stop> {
        [&self.home].into_iter().chain(&self.others)
    }

    /// Takes the region to ask now out of `left`, which holds places on the route: those that are left alone come last.
    pub(super) fn next(&self, left: &mut Vec<usize>, now: Instant) -> Option<(usize, &Stop, Admission)> {
        let stop = |place: usize| self.stops().nth(place);
        let admitted = left.iter().enumerate().find_map(|(at, place)| {
            let admission = stop(*place)?.region.breaker().admit(now);
            (admission != Admission::LastResort).then_some((at, admission))
        });
        let (at, admission) = admitted.unwrap_or((0, Admission::LastResort));
        let place = (at < left.len()).then(|| left.remove(at))?;
        Some((place, stop(place)?, admission))
    }

    /// What the master key is called in a region of the route.
    pub(super) fn name_in(&self, master_key: &MasterKeyId, region: &str) -> MasterKeyId {
        if region == self.home.name { master_key.clone() } else { master_key.replica_in(region) }
    }

    /// How many regions.
    pub(super) fn len(&self) -> usize {
        1 + self.others.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::panic)] // clippy sees no tests in the helpers

    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const EAST: &str = "us-east-1";
    const WEST: &str = "eu-west-1";
    const IN_WEST: &str = "arn:aws:kms:eu-west-1:1:key/1";
    const REPLICATED: &str = "arn:aws:kms:eu-west-1:1:key/mrk-1";

    fn parse(master_key: &str) -> MasterKeyId {
        MasterKeyId::parse(master_key).expect("a name")
    }

    fn settings(region: Option<&str>, fallback: Option<&str>, other_master_key: Option<&str>) -> AwsSettings {
        AwsSettings {
            region: region.map(str::to_owned),
            fallback_regions: fallback.into_iter().map(str::to_owned).collect(),
            other_master_keys: other_master_key.into_iter().map(parse).collect(),
            ..AwsSettings::default()
        }
    }

    /// The names of a route's regions, and whether they hold replicas. Nobody has to be asked for them.
    fn known(route: impl Future<Output = Result<Route, KmsError>>) -> (Vec<String>, bool) {
        let Poll::Ready(route) = pin!(route).poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("something is asked for the region");
        };
        let route = route.expect("a route");
        (route.stops().map(|stop| stop.name.clone()).collect(), route.is_of_replicas)
    }

    #[test]
    fn a_new_key_is_asked_for_where_its_master_key_is_and_where_replicas_of_it_may_be() {
        for (settings, master_key, names, is_of_replicas) in [
            // If there is one region only, it needs no name.
            (settings(None, None, None), "alias/a", vec![""], false),
            (settings(None, Some(WEST), None), "alias/a", vec![""], false),
            (settings(Some(EAST), None, None), "mrk-1", vec![""], true),
            (settings(Some(EAST), Some(WEST), None), "mrk-1", vec![EAST, WEST], true),
            (settings(Some(EAST), Some(EAST), None), REPLICATED, vec![WEST, EAST], true),
            (settings(Some(EAST), Some("us-west-1"), None), IN_WEST, vec![WEST], false),
        ] {
            let regions = Regions::new(settings, Box::new(|_| ()));
            let master_key = parse(master_key);
            let route = known(regions.route_to(&master_key, Call::Encrypt));
            assert_eq!(route, (names.into_iter().map(str::to_owned).collect(), is_of_replicas), "{master_key}");
        }
    }

    #[test]
    fn a_call_that_is_given_up_before_anything_was_asked_names_the_region_that_is_set() {
        let error = Regions::new(settings(Some(EAST), None, None), Box::new(|_| ())).no_answer(Call::Decrypt);
        assert!(error.to_string().contains("no answer in time"), "{error}");
        assert!(error.to_string().ends_with("KMS was not asked; the region is us-east-1"), "{error}");
    }

    #[test]
    fn a_wrapped_key_may_be_of_the_region_of_its_master_key_or_of_any_that_the_settings_name() {
        for (settings, master_key, names, is_of_replicas) in [
            (settings(None, None, None), None, vec![""], false),
            (settings(Some(EAST), None, None), None, vec![""], false),
            (settings(Some(EAST), Some(WEST), None), None, vec![EAST, WEST], false),
            (settings(Some(EAST), None, Some(IN_WEST)), None, vec![EAST, WEST], false),
            (settings(Some(EAST), None, Some(IN_WEST)), Some("alias/a"), vec![EAST, WEST], false),
            (settings(Some(EAST), Some("us-west-1"), None), Some(IN_WEST), vec![WEST], false),
            (settings(Some(EAST), Some("us-west-1"), None), Some(REPLICATED), vec![EAST, WEST, "us-west-1"], true),
        ] {
            let regions = Regions::new(settings, Box::new(|_| ()));
            let key = WrappedKey::new(vec![1]).with_master_key(master_key.map(parse));
            let route = known(regions.route_of(&key));
            assert_eq!(route, (names.into_iter().map(str::to_owned).collect(), is_of_replicas), "{master_key:?}");
        }
    }
}
