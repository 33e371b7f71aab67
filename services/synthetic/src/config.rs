//! What synthetic reads from its environment.

use http::{HeaderValue, Uri, uri::Scheme};
use shared::{env::Env, process::Common};

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) common: Common,
    pub(crate) load: Load,
}

/// What to send, and how much of it.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// `TARGET_URL`.
    pub(crate) url: Uri,
    /// `TARGET_HOST`: the `Host` header, if it shall not be the URL's.
    pub(crate) host: Option<HeaderValue>,
    /// `RATE`: requests a second, all together.
    pub(crate) rate: f64,
    /// `CONCURRENCY`: requests in flight at most, each on a connection of its own.
    pub(crate) concurrency: usize,
}

/// Bounds that keep a typing error from being an attack.
const FASTEST: f64 = 10_000.0;
const MOST_CONNECTIONS: usize = 1_000;

impl Config {
    /// `None` if there was a mistake.
    pub(crate) fn read(env: &mut Env<'_>) -> Option<Self> {
        let common = Common::read(env);
        let url = env.required("TARGET_URL", "a URL like http://name/path", |value| {
            value
                .parse::<Uri>()
                .ok()
                .filter(|url| url.scheme() == Some(&Scheme::HTTP) && url.host().is_some())
        });
        let host = env.optional("TARGET_HOST", "a host name", |value| HeaderValue::try_from(value).ok());
        let rate = env.or_default("RATE", 50.0, "requests a second, above 0 and up to 10000", |value| {
            value.parse().ok().filter(|&rate| rate > 0.001 && rate <= FASTEST)
        });
        let concurrency = env.or_default("CONCURRENCY", 10, "a number from 1 to 1000", |value| {
            value.parse().ok().filter(|number| (1..=MOST_CONNECTIONS).contains(number))
        });
        let load = Load { url: url?, host, rate: rate?, concurrency: concurrency? };
        Some(Self { common: common?, load })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_target_has_no_default() {
        let mut env = Env::new(|name| (name == "TARGET_URL").then(|| "http://ingress/".to_owned()));
        let load = Config::read(&mut env).unwrap().load;
        assert_eq!((load.rate, load.concurrency, load.host), (50.0, 10, None));
        env.finish().unwrap();
    }

    #[test]
    fn a_load_without_bounds_is_refused() {
        for (name, value) in
            [("RATE", "0"), ("RATE", "NaN"), ("RATE", "1e9"), ("CONCURRENCY", "0"), ("CONCURRENCY", "5000")]
        {
            let mut env = Env::new(move |asked| match asked {
                "TARGET_URL" => Some("http://ingress/".to_owned()),
                _ => (asked == name).then(|| value.to_owned()),
            });
            assert!(Config::read(&mut env).is_none(), "{name}={value}");
            assert!(env.finish().unwrap_err().to_string().contains(value));
        }
    }
}
