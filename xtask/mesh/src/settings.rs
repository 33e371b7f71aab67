//! What a Service's annotations ask for: the policy engine reads them.

pub use policy::outbound::{
    FailureAccrual, GrpcCondition, OutboundSettings, Retry, RetryOn, SettingsError, StatusRange, Timeouts,
};
