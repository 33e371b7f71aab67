//! Faults on purpose in a running environment: what is asked of it, and what it says.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Fault as Refused;

mod parse;

/// What is asked of an environment's faults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultRequest {
    /// What is there.
    List,
    /// One more.
    Add(FaultSpec),
    /// These are not to be there; none: not one.
    Remove(Option<Vec<u32>>),
}

/// A fault: which requests, and what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultSpec {
    /// The Service whose pods' sidecars it is in.
    pub service: String,
    /// A port of the Service, by number or name; none: all.
    pub port: Option<String>,
    /// A path, a path's beginning with `*` behind it, or the name of a route of the policies; none: all.
    pub route: Option<String>,
    /// The client, by its `ServiceAccount`; none: all, also those without an identity.
    pub from: Option<String>,
    /// A delay before anything else.
    pub delay: Option<Delay>,
    /// HTTP statuses that are answered.
    pub statuses: Vec<Status>,
    /// gRPC statuses that gRPC calls are answered with.
    pub grpc_statuses: Vec<GrpcStatus>,
    /// Of so many in a hundred the stream is reset.
    pub abort_percent: Option<f64>,
}

/// A delay, of so many requests in a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delay {
    /// In the middle, in milliseconds.
    pub mean_ms: f64,
    /// So much more or less at most, in milliseconds.
    pub jitter_ms: f64,
    /// Of 100.
    pub percent: f64,
}

/// An HTTP status, for so many requests in a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// From 200 to 599.
    pub status: u16,
    /// Of 100.
    pub percent: f64,
}

/// A gRPC status, for so many calls in a hundred.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrpcStatus {
    /// From 1 to 16.
    pub grpc_status: u8,
    /// Of 100.
    pub percent: f64,
}

/// `1%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

/// A fault that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultStatus {
    /// What it is called.
    pub id: u32,
    /// What was asked for.
    #[serde(flatten)]
    pub spec: FaultSpec,
    /// Requests that it was for.
    pub requests: u64,
    /// Of them, those that it did anything to.
    pub hit: u64,
    /// Of those, the delayed ones.
    pub delayed: u64,
    /// Those that it answered.
    pub answered: u64,
    /// Those that it broke off.
    pub aborted: u64,
}

/// What an environment says of its faults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultState {
    /// Those that are there now, by id.
    pub faults: Vec<FaultStatus>,
    /// The one that was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<u32>,
    /// Those that were removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<u32>,
}

/// What an environment without sidecars says.
pub fn without_sidecars() -> Refused {
    Refused::usage("nothing can inject faults without sidecars")
        .hint("cargo xtask down, then cargo xtask up --linkerd with its other options")
}

/// What a runtime says that has none yet.
pub fn not_there_yet(runtime: &str) -> Refused {
    Refused::usage(format!("{runtime} injects no faults yet")).hint("--runtime local")
}

impl FaultSpec {
    /// What is wrong in it whatever it is applied to.
    pub fn check(&self) -> Result<(), Refused> {
        let sum: f64 = self.statuses.iter().map(|own| own.percent).sum::<f64>()
            + self.grpc_statuses.iter().map(|own| own.percent).sum::<f64>()
            + self.abort_percent.unwrap_or_default();
        // What the digits of percentages come to when they are added.
        if sum > 100.0 + 1e-9 {
            return Err(Refused::usage(format!(
                "{sum} % of the requests are to end in a fault: of one request only one comes to pass, so they add \
                 up to 100 % at most"
            ))
            .hint("give each its share: --status 500@50% --abort 50%"));
        }
        Ok(())
    }

    /// Which requests: `baz:grpc /foo/bar from bar`.
    pub fn of(&self) -> String {
        let port = self.port.as_ref().map(|port| format!(":{port}")).unwrap_or_default();
        let route = self.route.as_ref().map(|route| format!(" {route}")).unwrap_or_default();
        let from = self.from.as_ref().map(|from| format!(" from {from}")).unwrap_or_default();
        format!("{}{port}{route}{from}", self.service)
    }

    /// What becomes of them: `delay 10ms±5ms, status 500@10%`.
    pub fn effects(&self) -> String {
        let mut told: Vec<String> = self.delay.iter().map(|delay| format!("delay {delay}")).collect();
        let of = |percent: f64| if percent < 100.0 { format!("@{percent}%") } else { String::new() };
        told.extend(self.statuses.iter().map(|own| format!("status {}{}", own.status, of(own.percent))));
        told.extend(self.grpc_statuses.iter().map(|own| {
            let name = client::code_name(own.grpc_status.into());
            format!("grpc-status {name}{}", of(own.percent))
        }));
        told.extend(self.abort_percent.map(|percent| format!("abort {percent}%")));
        told.join(", ")
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.mean_ms)?;
        if self.jitter_ms > 0.0 {
            write!(f, "±{}ms", self.jitter_ms)?;
        }
        if self.percent < 100.0 {
            write!(f, "@{}%", self.percent)?;
        }
        Ok(())
    }
}
