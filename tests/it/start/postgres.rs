//! The whole service on PostgreSQL.

use serde_json::json;

use crate::fixture::*;
use crate::postgres::{Database, Engine, block_on};

#[test]
fn the_whole_service_runs_on_postgresql() {
    block_on(async {
        let database = Database::empty(Engine::Postgres).await;
        let url = database.url.clone();
        tokio::task::spawn_blocking(move || whole_service(&url)).await.unwrap();
    });
}

fn whole_service(url: &str) {
    let mut huidu = Huidu::start_with(&[("DATABASE_URL", url)]);
    huidu.create_flag(&ramp("f", 100.0, 0.0));
    let seen = |huidu: &Huidu| huidu.entry("f", &json!({"id": "u-1"}), &json!([]));
    assert_eq!(seen(&huidu)["visible"], true);
    let event = json!([{"type": "exposure", "token": seen(&huidu)["exposure_token"]}]);
    let first = huidu.events(&huidu.server, &event).expect(200).json();
    assert_eq!((&first["accepted"], &first["duplicates"]), (&json!(1), &json!(0)), "{first}");
    huidu.kill();
    huidu.start_again();
    assert!(!huidu.banner.contains("huidu_"), "{}", huidu.banner);
    let second = huidu.events(&huidu.server, &event).expect(200).json();
    assert_eq!((&second["accepted"], &second["duplicates"]), (&json!(0), &json!(1)), "{second}");
    huidu.manage("POST", "/flags/f/kill", None, &json!({"reason": "stop"})).expect(200);
    assert_eq!(seen(&huidu)["visible"], false);
    huidu.stop();
    huidu.start_again();
    assert_eq!((&seen(&huidu)["visible"], &seen(&huidu)["reason"]), (&json!(false), &json!("DISABLED")));
    assert!(!huidu.database().exists(), "nothing is kept in a file beside it");
}
