//! What huidu tells about itself: logs and the ids of requests.

pub mod family;
pub mod logs;
pub mod metrics;
pub mod request_id;
