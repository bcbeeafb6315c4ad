//! One unit: what is stored of it is told, and erased.

use serde_json::{Value, json};

use super::{audited, shared_database, snapshot, texts, url_of};
use crate::fixture::*;

const PATH: &str = "/v1/environments/production/units";

fn erase(huidu: &Huidu, unit: &str) -> Value {
    huidu.post(&format!("{PATH}/erase"), ADMIN, &json!({"unit": unit})).expect(200).json()
}

fn export(huidu: &Huidu, body: &Value) -> Value {
    huidu.post(&format!("{PATH}/export"), ADMIN, body).expect(200).json()
}

/// A flag with a stop and a metric, open to all.
fn open_flag(huidu: &Huidu) {
    let mut flag = ramp("f", 100.0, 0.0);
    flag["funnel"] = json!(["clicked"]);
    flag["metrics"] = json!(["paid"]);
    flag["capture"] = json!(["user.region"]);
    huidu.create_flag(&flag);
}

/// Shows the entry to `user`, who clicks and pays.
fn shop(huidu: &Huidu, user: &str) {
    let entry = huidu.entry("f", &json!({"id": user, "region": "CN-31"}), &json!([]));
    let token = entry["exposure_token"].as_str().unwrap();
    let events = json!([
        {"type": "exposure", "token": token},
        {"id": "c", "type": "step", "step": "clicked", "token": token},
        {"id": "p", "type": "step", "step": "paid", "user_id": user, "order_id": "o-1", "value": 7, "currency": "CNY"},
    ]);
    let sent = huidu.events(&huidu.server, &events).expect(200).json();
    assert_eq!(sent["accepted"], 3, "{sent}");
}

/// Whether any file of the embedded database's log of rows names `unit` in a table of events or audit.
fn rows_naming(url: &str, unit: &str) -> Vec<String> {
    let sql = format!(
        "SELECT 'exposures' FROM exposures WHERE unit = '{unit}' UNION ALL
         SELECT 'steps' FROM steps WHERE unit = '{unit}' UNION ALL
         SELECT 'audit' FROM audit WHERE detail LIKE '%{unit}%' OR reason LIKE '%{unit}%' OR subject LIKE '%{unit}%'"
    );
    texts(url, &sql)
}

#[test]
fn an_erased_unit_is_gone_and_others_are_not() {
    let huidu = Huidu::start();
    let url = url_of(&huidu);
    open_flag(&huidu);
    for user in ["u-1", "u-11", "u-2"] {
        shop(&huidu, user);
    }
    let reason = json!({"reason": "complaint of u-1, not of u-11"});
    huidu.manage("POST", "/flags/f/kill", None, &reason).expect(200);
    let erased = erase(&huidu, "u-1");
    assert_eq!(
        erased,
        json!({"environment": "production", "attribute": "user.id", "exposures": 1, "steps": 2, "audiences": [], "audit": 1, "versions": 1, "named_in_flags": []})
    );
    assert_eq!(rows_naming(&url, "u-1"), ["audit"], "the one that speaks of u-11");
    assert_eq!(rows_naming(&url, "u-2").len(), 3);
    let kill = &audited(&huidu, "kill")[0];
    let hidden = audited(&huidu, "erased")[0]["subject"].as_str().unwrap().to_owned();
    assert_eq!(kill["reason"], json!(format!("complaint of {hidden}, not of u-11")));
    let versions = huidu.manage("GET", "/flags/f/versions", None, &json!({})).expect(200).json();
    assert_eq!(versions["items"][0]["reason"], kill["reason"]);
    let counted = "SELECT CAST(users AS TEXT) FROM exposed_users WHERE variant = 'on'";
    assert_eq!(texts(&url, counted), ["2"]);
    // Again it finds nothing, and says so.
    let again = erase(&huidu, "u-1");
    assert_eq!((&again["exposures"], &again["steps"], &again["audit"]), (&json!(0), &json!(0), &json!(0)));
    // What is sent later is a new exposure, no duplicate of what is gone.
    huidu.manage("POST", "/flags/f/restore", Some(2), &json!({})).expect(200);
    shop(&huidu, "u-1");
}

#[test]
fn an_erasure_is_audited_without_the_name() {
    let huidu = Huidu::start();
    open_flag(&huidu);
    shop(&huidu, "u-1");
    let body = json!({"unit": "u-1", "reason": "asked on the phone by u-1"});
    huidu.post(&format!("{PATH}/erase"), ADMIN, &body).expect(200);
    let (begun, done) = (&audited(&huidu, "erase")[0], &audited(&huidu, "erased")[0]);
    for row in [begun, done] {
        assert_eq!(row["kind"], "unit", "{row}");
        assert!(row["actor"].as_str().unwrap().contains("bootstrap"), "{row}");
        let hidden = row["subject"].as_str().unwrap();
        assert_eq!(row["reason"], json!(format!("asked on the phone by {hidden}")));
        assert!(!row.to_string().contains("u-1") && hidden.len() == 32, "{row}");
    }
    assert_eq!(
        done["detail"],
        json!({"attribute": "user.id", "exposures": 1, "steps": 2, "audiences": [], "audit": 0, "versions": 0})
    );
    assert_eq!(begun["subject"], done["subject"]);
    erase(&huidu, "u-2");
    assert_ne!(audited(&huidu, "erased")[0]["subject"], done["subject"]);
    erase(&huidu, "u-1");
    assert_eq!(
        audited(&huidu, "erased")[0]["subject"],
        done["subject"],
        "the same unit has the same name there"
    );
}

#[test]
fn an_export_tells_everything_stored_of_a_unit() {
    let huidu = Huidu::start();
    open_flag(&huidu);
    shop(&huidu, "u-1");
    shop(&huidu, "u-2");
    let told = export(&huidu, &json!({"unit": "u-1"}));
    assert_eq!(
        (&told["environment"], &told["attribute"], &told["unit"], &told["stored_as"]),
        (&json!("production"), &json!("user.id"), &json!("u-1"), &json!("u-1"))
    );
    let exposure = &told["exposures"][0];
    assert_eq!(told["exposures"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&exposure["flag"], &exposure["stage"], &exposure["rule"], &exposure["arm"], &exposure["variant"]),
        (&json!("f"), &json!(1), &json!("ramp"), &json!("treatment"), &json!("on"))
    );
    assert_eq!(exposure["captured"], json!({"region": "CN-31"}));
    let steps = told["steps"].as_array().unwrap();
    let step = |at: usize| (&steps[at]["step"], &steps[at]["id"], &steps[at]["flag"], &steps[at]["value"]);
    assert_eq!(step(0), (&json!("clicked"), &json!("c"), &json!("f"), &Value::Null));
    assert_eq!(step(1), (&json!("paid"), &json!("p"), &Value::Null, &json!(7)));
    assert_eq!(
        (steps.len(), &steps[1]["order_id"], &steps[1]["currency"]),
        (2, &json!("o-1"), &json!("CNY"))
    );
    assert_eq!(audited(&huidu, "export").len(), 1, "who looked is known");
    let stranger = export(&huidu, &json!({"unit": "nobody", "attribute": "user.device_id"}));
    for list in ["exposures", "steps", "audiences", "audit", "named_in_flags"] {
        assert_eq!(stranger[list], json!([]), "{list}");
    }
    huidu
        .post(&format!("{PATH}/erase"), ADMIN, &json!({"unit": "u-1", "attribute": "user.device_id"}))
        .expect(200);
    assert_eq!(
        export(&huidu, &json!({"unit": "u-1"}))["steps"].as_array().unwrap().len(),
        2,
        "another kind of unit"
    );
}

#[test]
fn many_steps_come_whole_and_in_order() {
    let huidu = Huidu::start();
    open_flag(&huidu);
    let count = 2_500;
    for from in (0..count).step_by(500) {
        let step = |n| json!({"id": format!("{n:05}"), "type": "step", "step": "paid", "user_id": "u-1"});
        let events: Vec<Value> = (from..from + 500).map(step).collect();
        assert_eq!(huidu.events(&huidu.server, &json!(events)).expect(200).json()["accepted"], 500);
    }
    let told = export(&huidu, &json!({"unit": "u-1"}));
    let ids: Vec<String> = told["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, (0..count).map(|n| format!("{n:05}")).collect::<Vec<_>>());
    assert_eq!(erase(&huidu, "u-1")["steps"], count);
    assert_eq!(export(&huidu, &json!({"unit": "u-1"}))["steps"], json!([]));
}

#[test]
fn a_condition_that_names_a_unit_is_told_and_its_audit_hides_it() {
    let huidu = Huidu::start();
    let mut flag = ramp("f", 50.0, 0.0);
    let when = |ids: Value| json!({"attribute": "user.id", "op": "in", "value": ids});
    flag["rules"][0]["when"] = when(json!(["on", "u-2"]));
    huidu.create_flag(&flag);
    flag["rules"][0]["when"] = when(json!(["u-2"]));
    huidu.manage("PUT", "/flags/f", Some(1), &flag).expect(200);
    let erased = erase(&huidu, "on");
    assert_eq!(
        (&erased["audit"], &erased["named_in_flags"]),
        (&json!(2), &json!([])),
        "it is in no flag any more"
    );
    let diff = audited(&huidu, "replace")[0]["detail"]["diff"].to_string();
    let hidden = audited(&huidu, "erased")[0]["subject"].as_str().unwrap().to_owned();
    assert!(diff.contains(&hidden) && diff.contains("u-2"), "{diff}");
    let created = audited(&huidu, "create");
    let created = created.iter().find(|row| row["subject"] == "f").unwrap().to_string();
    assert!(
        created.contains(&hidden) && created.contains("\"on\":true"),
        "a variant's name is no id: {created}"
    );
    assert_eq!(erase(&huidu, "u-2")["named_in_flags"], json!(["f"]));
    assert_eq!(export(&huidu, &json!({"unit": "u-2"}))["named_in_flags"], json!(["f"]));
}

#[test]
fn hashed_units_are_found_by_the_name_that_was_sent() {
    let huidu = Huidu::start_with(&[("UNIT_IDS", "hashed")]);
    let url = url_of(&huidu);
    open_flag(&huidu);
    shop(&huidu, "u-1");
    let stored = texts(&url, "SELECT unit FROM exposures");
    let told = export(&huidu, &json!({"unit": "u-1"}));
    assert_eq!((&told["unit"], &told["stored_as"]), (&json!("u-1"), &json!(stored[0])));
    assert_eq!(
        (told["exposures"].as_array().unwrap().len(), told["steps"].as_array().unwrap().len()),
        (1, 2)
    );
    let erased = erase(&huidu, "u-1");
    assert_eq!((&erased["exposures"], &erased["steps"]), (&json!(1), &json!(2)));
    assert_eq!(
        texts(&url, "SELECT unit FROM exposures UNION ALL SELECT unit FROM steps"),
        Vec::<String>::new()
    );
    assert_ne!(audited(&huidu, "erased")[0]["subject"], json!(stored[0]), "the audit's name leads to no row");
}

#[test]
fn a_unit_that_is_named_wrongly_is_refused() {
    let huidu = Huidu::start();
    let long = "x".repeat(257);
    for (body, status, code) in [
        (json!({}), 422, "body_invalid"),
        (json!({"unit": 7}), 422, "body_invalid"),
        (json!({"unit": ""}), 400, "unit_invalid"),
        (json!({"unit": "a\0b"}), 400, "unit_invalid"),
        (json!({"unit": long}), 400, "unit_invalid"),
        (json!({"unit": "u", "attribute": "goods.id"}), 422, "body_invalid"),
        (json!({"unit": "u", "attribute": "id"}), 422, "body_invalid"),
        (json!({"unit": "u", "colour": 1}), 422, "body_invalid"),
        (json!({"unit": "u", "reason": "x".repeat(501)}), 400, "out_of_range"),
    ] {
        for call in ["erase", "export"] {
            huidu.post(&format!("{PATH}/{call}"), ADMIN, &body).refused(status, code);
        }
    }
    huidu.post(&format!("{PATH}/erase?x=1"), ADMIN, &json!({"unit": "u"})).refused(400, "query_invalid");
    assert_eq!(audited(&huidu, "erase").len() + audited(&huidu, "export").len(), 0);
}

#[test]
fn an_erasure_is_heard_of_by_the_other_instance() {
    let url = shared_database();
    let first = Huidu::start_with(&[("DATABASE_URL", &url)]);
    let second = Huidu::beside(&first);
    open_flag(&first);
    eventually("both know the flag", || snapshot(&first) == snapshot(&second));
    let entry = second.entry("f", &json!({"id": "u-1"}), &json!([]));
    let token = entry["exposure_token"].clone();
    let exposure = json!([{"type": "exposure", "token": token}]);
    let paid = |id: &str| json!([{"id": id, "type": "step", "step": "paid", "user_id": "u-1"}]);
    let counted = |huidu: &Huidu| {
        let series =
            "huidu_steps_total{arm=\"treatment\",environment=\"production\",flag=\"f\",step=\"paid\"";
        huidu.metric(series).unwrap()
    };
    assert_eq!(second.events(&second.server, &exposure).expect(200).json()["accepted"], 1);
    second.events(&second.server, &paid("1")).expect(200);
    eventually("the step is counted for the exposure", || counted(&second) > 0.5);
    let before = snapshot(&second);
    assert_eq!(erase(&first, "u-1")["exposures"], 1);
    eventually("the other hears of it", || snapshot(&second) > before);
    // Neither remembers the exposure: the step counts for none, and the exposure is new.
    second.events(&second.server, &paid("2")).expect(200);
    assert_eq!(second.events(&second.server, &exposure).expect(200).json()["accepted"], 1, "no duplicate");
    second.events(&second.server, &paid("3")).expect(200);
    eventually("the third is counted, the second was not", || (counted(&second) - 2.0).abs() < 0.1);
    assert_eq!(first.events(&first.server, &exposure).expect(200).json()["duplicates"], 1);
}

#[test]
fn others_write_while_much_is_erased() {
    let huidu = Huidu::start();
    let url = url_of(&huidu);
    open_flag(&huidu);
    let number = "(SELECT number FROM environments WHERE key = 'production')";
    super::execute(
        &url,
        &format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
             INSERT INTO steps (environment, unit, unit_attribute, step, id, at)
             SELECT {number}, 'u-1', 'user.id', 'paid', CAST(i AS TEXT), 1 FROM n"
        ),
    );
    let erased = std::thread::scope(|scope| {
        let erasing = scope.spawn(|| erase(&huidu, "u-1"));
        let mut sent = 0;
        while !erasing.is_finished() {
            let event =
                json!([{"id": format!("n-{sent}"), "type": "step", "step": "paid", "user_id": "u-2"}]);
            assert_eq!(huidu.events(&huidu.server, &event).expect(200).json()["accepted"], 1);
            sent += 1;
        }
        assert!(sent > 3, "{sent} calls were answered meanwhile");
        erasing.join().unwrap()
    });
    assert_eq!(erased["steps"], 40_000);
    assert_eq!(texts(&url, "SELECT DISTINCT unit FROM steps"), ["u-2"]);
}

const AUDIENCES: &str = "/v1/environments/production/audiences";

fn upload(huidu: &Huidu, key: &str, kind: &str, version: Option<i64>, ids: &str) {
    let tag = version.map(|version| format!("\"{version}\""));
    let precondition = tag.as_deref().map_or(("if-none-match", "*"), |tag| ("if-match", tag));
    let path = format!("{AUDIENCES}/{key}?kind={kind}");
    let answer =
        huidu.call("PUT", &path, ADMIN, &[("content-type", "text/plain"), precondition], ids.as_bytes());
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

fn edit(huidu: &Huidu, key: &str, what: &str, id: &str) {
    huidu.post(&format!("{AUDIENCES}/{key}/{what}"), ADMIN, &json!({"ids": [id]})).expect(200);
}

fn audience(huidu: &Huidu, key: &str) -> Value {
    huidu.get(&format!("{AUDIENCES}/{key}"), ADMIN).expect(200).json()
}

fn ids(huidu: &Huidu, key: &str) -> Value {
    huidu.get(&format!("{AUDIENCES}/{key}/ids"), ADMIN).expect(200).json()["items"].clone()
}

/// What tables of audiences still name `id`.
fn audiences_naming(url: &str, id: &str) -> Vec<String> {
    let lined = if url.starts_with("sqlite") {
        format!("char(10) || '{id}' || char(10)")
    } else {
        format!("E'\\n{id}\\n'")
    };
    let at = if url.starts_with("sqlite") { "instr" } else { "strpos" };
    texts(
        url,
        &format!(
            "SELECT audience FROM audience_blocks WHERE {at}(ids, {lined}) > 0 OR first = '{id}'
             UNION ALL SELECT audience FROM audience_deltas WHERE id = '{id}'"
        ),
    )
}

#[test]
fn an_erased_unit_is_in_no_audience_and_in_no_kept_contents() {
    let huidu = Huidu::start();
    let url = url_of(&huidu);
    upload(&huidu, "twice", "user", None, "u-0\nu-1\nu-2\n");
    upload(&huidu, "twice", "user", Some(1), "u-1\nu-3\n");
    edit(&huidu, "twice", "remove", "u-1");
    edit(&huidu, "twice", "add", "u-1");
    upload(&huidu, "added", "user", None, "u-2\n");
    edit(&huidu, "added", "add", "u-1");
    upload(&huidu, "alone", "user", None, "u-1\n");
    upload(&huidu, "removed", "user", None, "u-1\nu-2\n");
    edit(&huidu, "removed", "remove", "u-1");
    upload(&huidu, "goods", "goods", None, "u-1\n");
    upload(&huidu, "merchants", "other", None, "u-1\n");
    upload(&huidu, "strangers", "user", None, "u-11\nu-2\n");
    assert_eq!(export(&huidu, &json!({"unit": "u-1"}))["audiences"], json!(["added", "alone", "twice"]));
    let erased = erase(&huidu, "u-1");
    assert_eq!(erased["audiences"], json!(["added", "alone", "removed", "twice"]), "kept contents count");
    assert_eq!(audiences_naming(&url, "u-1"), ["goods", "merchants"], "other kinds are not people");
    assert_eq!(export(&huidu, &json!({"unit": "u-1"}))["audiences"], json!([]));
    for (key, left) in [
        ("twice", json!(["u-3"])),
        ("added", json!(["u-2"])),
        ("alone", json!([])),
        ("removed", json!(["u-2"])),
    ] {
        assert_eq!(ids(&huidu, key), left, "{key}");
        assert_eq!(audience(&huidu, key)["size"], left.as_array().unwrap().len(), "{key}");
    }
    assert_eq!(audience(&huidu, "strangers")["version"], 1);
    // What is kept is whole: a way back finds as many as its size says, and decides.
    let version = audience(&huidu, "twice")["version"].as_i64().unwrap();
    let back = json!({"version": version - 3});
    let tag = format!("\"{version}\"");
    let headers = [("content-type", "application/json"), ("if-match", &*tag)];
    let path = format!("{AUDIENCES}/twice/rollback");
    let answer = huidu.call("POST", &path, ADMIN, &headers, back.to_string().as_bytes()).expect(200).json();
    assert_eq!((&answer["size"], ids(&huidu, "twice")), (&json!(1), json!(["u-3"])));
    let rows = audited(&huidu, "remove");
    assert!(rows.iter().all(|row| !row.to_string().contains("u-1")), "{rows:?}");
    assert_eq!(erase(&huidu, "u-1")["audiences"], json!([]), "once");
    let other = json!({"unit": "u-1", "attribute": "user.merchant"});
    let other = huidu.post(&format!("{PATH}/erase"), ADMIN, &other).expect(200).json();
    assert_eq!(other["audiences"], json!(["merchants"]));
}

#[test]
fn an_erased_member_decides_as_a_stranger_everywhere_also_after_a_restart() {
    let url = shared_database();
    let first = Huidu::start_with(&[("DATABASE_URL", &url)]);
    let mut second = Huidu::beside(&first);
    let members: Vec<String> = (0..2_000).map(|n| format!("u-{n}")).collect();
    upload(&first, "testers", "user", None, &members.join("\n"));
    let mut flag = ramp("f", 0.0, 0.0);
    flag["rules"] = json!([{"id": "testers", "when": {"audience": "testers"}, "serve": {"variant": "on"}}]);
    first.create_flag(&flag);
    let shown =
        |huidu: &Huidu, user: &str| huidu.entry("f", &json!({"id": user}), &json!([]))["visible"] == true;
    eventually("both know the flag", || snapshot(&first) == snapshot(&second) && shown(&second, "u-7"));
    assert_eq!(erase(&first, "u-7")["audiences"], json!(["testers"]));
    assert_eq!(audiences_naming(&url, "u-7"), Vec::<String>::new());
    eventually("both are at the last number", || snapshot(&first) == snapshot(&second));
    let check = |huidu: &Huidu| {
        assert!(!shown(huidu, "u-7"));
        assert!(members.iter().step_by(97).filter(|user| *user != "u-7").all(|user| shown(huidu, user)));
        assert!(!shown(huidu, "u-2000"));
    };
    check(&first);
    check(&second);
    edit(&first, "testers", "add", "u-2000");
    eventually("the next change is heard of", || shown(&second, "u-2000"));
    second.stop();
    second.start_again();
    assert!(!shown(&second, "u-7") && shown(&second, "u-8") && shown(&second, "u-2000"));
    assert_eq!(audience(&second, "testers")["size"], 2_000);
}
