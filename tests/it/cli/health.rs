//! Whether a service is ready, as an exit code.

use super::run;
use crate::fixture::*;

#[test]
fn a_ready_service_is_0_and_one_that_is_gone_is_1() {
    let mut huidu = Huidu::start();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}", huidu.address);
    let ask = || run(folder.path(), &["health", "--url", &url]);
    assert_eq!(ask().good().out, "ready\n");
    huidu.stop();
    ask().bad(1, &["cannot be reached"]);
}
