//! The fixture itself works.
use crate::fixture::*;

#[test]
fn a_service_starts_and_stops() {
    let mut huidu = Huidu::start();
    assert!(huidu.get("/healthz", "").status == 200);
    assert!(!huidu.tester_token().is_empty());
    assert!(huidu.stop().as_secs() < 15);
}
