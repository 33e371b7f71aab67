//! The bodies that pass: requests that may have to be sent again, responses whose end is noted.

use std::{error::Error as StdError, task::Poll};

use bytes::Bytes;
use http_body::Frame;

mod request;
mod response;

pub(crate) use request::RequestBody;
pub(crate) use response::{Limits, ResponseBody};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;
type FramePoll = Poll<Option<Result<Frame<Bytes>, BoxError>>>;
