//! `huidu promote`.

use serde_json::json;

use super::*;

fn percent(huidu: &Huidu, environment: &str) -> Option<f64> {
    let flag = huidu.get(&format!("/v1/environments/{environment}/flags/f"), ADMIN).expect(200).json();
    flag["flag"]["rules"][0]["serve"]["rollout"]["percent"].as_f64()
}

#[test]
fn a_flag_is_taken_over_from_another_environment() {
    let huidu = Huidu::start();
    huidu.create_flag(&ramp("f", 20.0, 5.0));
    let to = ["--from", "production", "--environment", "staging"];
    let promote = |more: &[&str]| call(&huidu, &[&["promote", "f"], &to[..], more].concat());
    promote(&["--dry-run"])
        .good()
        .says(&["f in staging: would create, killed, version 1, from version 1 of production"]);
    huidu.get("/v1/environments/staging/flags/f", ADMIN).refused(404, "not_found");
    promote(&["--reason", "tested"]).good().says(&["f in staging: created, killed, version 1"]);
    promote(&[]).good().says(&["f in staging: unchanged"]);
    let moved = json!({"percent": 30, "control": 5});
    huidu.manage("POST", "/flags/f/rollout", Some(1), &moved).expect(200);
    promote(&["--parts", "name,tags"]).good().says(&["unchanged"]);
    promote(&["--parts", "colour"]).bad(1, &["body_invalid", "colour"]);
    promote(&["--if-version", "7"]).bad(1, &["version_conflict"]);
    assert_eq!(percent(&huidu, "staging"), Some(20.0));
    promote(&["--parts", "rules,name", "--if-version", "1"]).good().says(&[
        "f in staging: replaced, killed, version 2, from version 2",
        "  ~ /rules/0/serve/rollout/percent: 20.0 -> 30",
    ]);
    assert_eq!(percent(&huidu, "staging"), Some(30.0));
    let told = promote(&["--json"]).good().json();
    assert_eq!((&told["action"], &told["from"]), (&json!("unchanged"), &json!("production")));
    call(&huidu, &["promote", "f", "--from", "nowhere"]).bad(1, &["not_found", "`from`"]);
    call(&huidu, &["promote", "f", "--from", "production"]).bad(1, &["another environment"]);
    call_as(&huidu, &huidu.server, &["promote", "f", "--from", "staging"], b"").bad(1, &["forbidden"]);
}
