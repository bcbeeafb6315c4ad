//! `huidu unit-secret`.

use serde_json::json;

use super::*;

#[test]
fn a_unit_secret_is_made_shown_once_and_deleted() {
    let huidu = Huidu::start();
    call(&huidu, &["unit-secret", "list"])
        .good()
        .says(&["production does not demand signed units; it has no unit secret"]);
    let made = call(&huidu, &["unit-secret", "create", "--json", "--reason", "rotation"]).good().json();
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let list = call(&huidu, &["unit-secret", "list"]).good().says(&[id]);
    assert!(!list.out.contains(secret), "{list:?}");
    let other = call(&huidu, &["unit-secret", "create"])
        .good()
        .says(&["secret  ", "It is shown now and never again"]);
    let stored = huidu.get("/v1/environments/production", ADMIN).expect(200).json();
    let ids: Vec<&str> =
        stored["unit_secrets"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 2 && ids.contains(&id) && ids.iter().any(|id| other.out.contains(id)), "{stored}");
    call(&huidu, &["unit-secret", "delete", id]).good().says(&[&format!("{id} is deleted")]);
    let left = call(&huidu, &["unit-secret", "list", "--json"]).good().json();
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
    assert_ne!(left["items"][0]["id"], json!(id));
    call(&huidu, &["unit-secret", "delete", id]).bad(1, &["not_found"]);
    call(&huidu, &["unit-secret", "create", "--environment", "nowhere"]).bad(1, &["not_found"]);
    call_as(&huidu, &huidu.server, &["unit-secret", "list"], b"").bad(1, &["forbidden"]);
}
