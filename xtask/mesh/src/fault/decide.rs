//! Which faults hit a request: pure, with chance given from outside.

use std::sync::Arc;
use std::time::Duration;

use super::{Delay, End, Route, Rule};

/// A request, as far as faults go by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The container port.
    pub port: u16,
    /// Without the query.
    pub path: &'a str,
    pub grpc: bool,
    /// The name of the policy's route that takes it.
    pub route: Option<&'a str>,
    /// The client's identity.
    pub client: Option<&'a str>,
}

/// What becomes of a request.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    pub delay: Duration,
    pub end: Option<End>,
    /// What each fault that was for it does.
    pub by: Vec<By>,
}

#[derive(Debug)]
pub(crate) struct By {
    pub rule: Arc<Rule>,
    pub delay: Option<Duration>,
    pub end: Option<End>,
}

impl Decided {
    /// Counts it where each fault's hits are counted.
    pub(crate) fn count(&self) {
        self.by.iter().for_each(|by| by.rule.hits.count(by.delay.is_some(), by.end));
    }

    /// Anything becomes of the request.
    pub(crate) fn is_any(&self) -> bool {
        self.by.iter().any(|by| by.delay.is_some() || by.end.is_some())
    }
}

/// Decides by `draw`, which gives numbers from 0 to 1, 1 excluded. Delays add up; the first end is the last word.
pub(crate) fn decide(rules: &[Arc<Rule>], asked: &Asked<'_>, mut draw: impl FnMut() -> f64) -> Decided {
    let mut decided = Decided::default();
    for rule in rules.iter().filter(|rule| rule.is_for(asked)) {
        let delay = rule.delay.and_then(|delay| delay.draw(&mut draw));
        let end = rule.end(asked.grpc, &mut draw);
        decided.delay += delay.unwrap_or_default();
        decided.end = end;
        decided.by.push(By { rule: Arc::clone(rule), delay, end });
        if end.is_some() {
            break;
        }
    }
    decided
}

impl Rule {
    fn is_for(&self, asked: &Asked<'_>) -> bool {
        let route = match &self.route {
            None => true,
            Some(Route::Path(path)) => asked.path == path,
            Some(Route::Prefix(prefix)) => asked.path.starts_with(prefix.as_str()),
            Some(Route::Named(name)) => asked.route == Some(name),
        };
        let client = self.client.as_ref().is_none_or(|client| asked.client == Some(client.as_str()));
        route && client && self.ports.contains(&asked.port)
    }

    /// One draw for all of them: each has a part of the way from 0 to 1 as long as its share.
    fn end(&self, grpc: bool, draw: &mut impl FnMut() -> f64) -> Option<End> {
        if self.ends.is_empty() {
            return None;
        }
        let mut at = draw();
        let (end, _) = self.ends.iter().find(|(_, share)| {
            let is_in = at < share.0;
            at -= share.0;
            is_in
        })?;
        (grpc || !matches!(end, End::Grpc(_))).then_some(*end)
    }
}

impl Delay {
    fn draw(&self, draw: &mut impl FnMut() -> f64) -> Option<Duration> {
        if draw() >= self.share.0 {
            return None;
        }
        let least = self.mean.saturating_sub(self.jitter);
        let most = self.mean + self.jitter;
        // From -jitter to jitter around the mean; what would be below nothing is nothing.
        let way = 2.0 * self.jitter.as_secs_f64() * draw();
        let at = self.mean.as_secs_f64() - self.jitter.as_secs_f64() + way;
        Some(Duration::from_secs_f64(at.max(0.0)).clamp(least, most))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Identity;
    use crate::fault::{Hits, Share};

    const ASKED: Asked<'static> =
        Asked { port: 80, path: "/a/b", grpc: true, route: Some("r"), client: Some("c") };

    fn rule(delay: Option<Delay>, ends: &[(End, f64)]) -> Arc<Rule> {
        let ends = ends.iter().map(|(end, percent)| (*end, Share::percent(*percent).unwrap())).collect();
        let (ports, hits) = (vec![80, 81], Hits::default());
        Arc::new(Rule { id: 1, ports, route: None, client: None, delay, ends, hits })
    }

    /// Numbers from 0 to 1 that a seed gives (`splitmix64`).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept, as many as fit")]
    fn seeded(mut seed: u64) -> impl FnMut() -> f64 {
        move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = seed;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    fn ended(rules: &[Arc<Rule>], at: f64) -> Option<End> {
        decide(rules, &ASKED, || at).end
    }

    #[test]
    fn ends_share_one_draw_and_what_is_left_goes_to_the_application() {
        let rules = [rule(None, &[(End::Abort, 1.0), (End::Status(500), 10.0), (End::Grpc(14), 5.0)])];
        let at = [0.0, 0.0099, 0.01, 0.109, 0.111, 0.159, 0.161, 0.99].map(|at| ended(&rules, at));
        let (abort, status, grpc) = (Some(End::Abort), Some(End::Status(500)), Some(End::Grpc(14)));
        assert_eq!(at, [abort, abort, status, status, grpc, grpc, None, None]);
    }

    #[test]
    fn a_grpc_status_is_for_grpc_only() {
        let rules = [rule(None, &[(End::Grpc(14), 100.0)])];
        assert_eq!(decide(&rules, &Asked { grpc: false, ..ASKED }, || 0.5).end, None);
        assert_eq!(ended(&rules, 0.5), Some(End::Grpc(14)));
    }

    #[test]
    fn a_fault_is_for_its_ports_its_route_and_its_client() {
        let is_for = |change: fn(&mut Rule)| {
            let mut rule = Arc::into_inner(rule(None, &[(End::Abort, 100.0)])).unwrap();
            change(&mut rule);
            !decide(&[Arc::new(rule)], &ASKED, || 0.5).by.is_empty()
        };
        assert!(is_for(|_| ()));
        assert!(!is_for(|rule| rule.ports = vec![90]));
        assert!(is_for(|rule| rule.route = Some(Route::Path("/a/b".into()))));
        assert!(!is_for(|rule| rule.route = Some(Route::Path("/a".into()))));
        assert!(is_for(|rule| rule.route = Some(Route::Prefix("/a".into()))));
        assert!(is_for(|rule| rule.route = Some(Route::Named("r".into()))));
        assert!(!is_for(|rule| rule.route = Some(Route::Named("/a/b".into()))));
        assert!(!is_for(|rule| rule.client = Some(Identity::of_service_account("bar", "default"))));
    }

    #[test]
    fn delays_add_up_until_one_ends_the_request() {
        let delay = |ms| {
            let (mean, jitter) = (Duration::from_millis(ms), Duration::ZERO);
            Some(Delay { mean, jitter, share: Share::ALL })
        };
        let rules = [rule(delay(10), &[]), rule(delay(5), &[(End::Abort, 100.0)]), rule(delay(100), &[])];
        let decided = decide(&rules, &ASKED, || 0.5);
        assert_eq!((decided.delay, decided.end), (Duration::from_millis(15), Some(End::Abort)));
        assert_eq!(decided.by.len(), 2, "the third never saw it");
        decided.count();
        let counts = rules[1].hits.counts();
        assert_eq!((counts.requests, counts.hit, counts.delayed, counts.aborted), (1, 1, 1, 1));
        assert_eq!(rules[2].hits.counts(), crate::fault::Counts::default());
    }

    proptest! {
        /// Of many requests each end hits its share, whatever the others are.
        #[test]
        fn rates_are_as_asked(seed: u64, cuts in prop::array::uniform3(0.0..100.0_f64)) {
            const REQUESTS: u32 = 20_000;
            let mut cuts = cuts;
            cuts.sort_by(f64::total_cmp);
            let [abort, status, grpc] = [cuts[0], cuts[1] - cuts[0], cuts[2] - cuts[1]];
            let all = [(End::Abort, abort), (End::Status(500), status), (End::Grpc(14), grpc)];
            let rules = [rule(None, &all)];
            let mut draw = seeded(seed);
            let ends: Vec<_> = (0..REQUESTS).map(|_| decide(&rules, &ASKED, &mut draw).end).collect();
            for (end, percent) in all {
                let hit = u32::try_from(ends.iter().filter(|own| **own == Some(end)).count()).unwrap();
                let (share, n) = (percent / 100.0, f64::from(REQUESTS));
                // Six standard deviations, and one request for shares near none.
                let off = 6.0 * (n * share * (1.0 - share)).sqrt() + 1.0;
                prop_assert!((f64::from(hit) - n * share).abs() <= off, "{end:?}: {hit} at {percent} %");
            }
        }

        /// A delay is never beyond its jitter, and all of that range is used.
        #[test]
        fn delays_stay_within_their_jitter(seed: u64, mean in 0_u64..10_000, jitter in 0_u64..10_000) {
            let [mean, jitter] = [mean, jitter].map(Duration::from_micros);
            let rules = [rule(Some(Delay { mean, jitter, share: Share::ALL }), &[])];
            let mut draw = seeded(seed);
            let delays: Vec<_> = (0..500).map(|_| decide(&rules, &ASKED, &mut draw).delay).collect();
            let (least, most) = (mean.saturating_sub(jitter), mean + jitter);
            prop_assert!(delays.iter().all(|delay| (least..=most).contains(delay)));
            let (low, high) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
            prop_assert!(*high >= mean && *low <= mean);
            prop_assert!(*high + jitter / 5 >= most);
        }

        /// The same seed hits the same requests.
        #[test]
        fn chance_is_only_what_is_given(seed: u64) {
            let delay = Delay { mean: Duration::from_millis(9), jitter: Duration::from_millis(5), share: Share(0.5) };
            let rules = [rule(Some(delay), &[(End::Abort, 30.0)])];
            let run = || {
                let mut draw = seeded(seed);
                let one = |_| { let decided = decide(&rules, &ASKED, &mut draw); (decided.delay, decided.end) };
                (0..50).map(one).collect::<Vec<_>>()
            };
            prop_assert_eq!(run(), run());
        }
    }
}
