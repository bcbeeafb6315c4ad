mod examples;
mod gate;
mod properties;
mod shares;

use std::cell::Cell;

use serde_json::{Value, json};

use super::*;
use crate::engine::bucket::Salted;
use crate::engine::compile::StoredFlag;
use crate::engine::explain::{Recorder, Silent};
use crate::engine::fixture::{audience, decided, flag_json, line, of_flags, snapshot, stored, with_context};
use crate::engine::flag::{AudienceKind, State};
use crate::engine::index::AudienceIndex;
use crate::engine::membership::{Membership, NothingFetched};

fn user() -> Value {
    json!({"targetingKey": "u-1"})
}

/// A unit whose bucket on the line of `prefix` satisfies `wanted`.
fn unit_where(prefix: &str, wanted: impl Fn(u32) -> bool) -> String {
    let salted = Salted::new(prefix);
    (0..).map(|n| format!("u-{n}")).find(|unit| wanted(salted.bucket(unit).ppm())).unwrap()
}

fn rollout(percent: f64, control: f64, split: &Value) -> Value {
    json!({"rollout": {"percent": percent, "control": control, "split": split}})
}

fn ramp(percent: f64, control: f64) -> Value {
    json!([{"id": "ramp", "serve": rollout(percent, control, &json!({"on": 1}))}])
}

const FIXED: &str = r#"[{"id": "fixed", "serve": {"variant": "on"}}]"#;

fn fixed() -> Value {
    serde_json::from_str(FIXED).unwrap()
}

/// What one flag decides for `u-1`.
fn decide_one(fields: &Value, change: impl FnOnce(&mut StoredFlag)) -> String {
    let mut flag = stored(&flag_json(fields));
    change(&mut flag);
    decided(&snapshot(Vec::new(), vec![flag]), "flag", &user())
}

#[test]
fn a_shut_flag_serves_off_before_anything_else() {
    let needs_unit = json!({"rules": ramp(100.0, 0.0), "default_variant": "on"});
    for (state, expired) in
        [(State::Killed, false), (State::Archived, false), (State::Live, true), (State::Killed, true)]
    {
        let shut = |flag: &mut StoredFlag| (flag.state, flag.expired) = (state, expired);
        assert_eq!(decide_one(&needs_unit, shut), "off DISABLED");
        let mut flag = stored(&flag_json(&needs_unit));
        shut(&mut flag);
        assert_eq!(decided(&snapshot(Vec::new(), vec![flag]), "flag", &json!({})), "off DISABLED");
    }
    assert_eq!(decide_one(&needs_unit, |_| {}), "on SPLIT ramp treatment");
}

#[test]
fn a_snapshot_shuts_what_has_ended() {
    let flag = flag_json(&json!({"rules": fixed(), "expire_at": "1970-01-01T00:00:01Z"}));
    let before = of_flags(&[flag]);
    assert!(before.expire(999).is_none());
    let after = before.expire(1_000).unwrap();
    assert_eq!(decided(&before, "flag", &user()), "on TARGETING_MATCH fixed fixed");
    assert_eq!(decided(&after, "flag", &user()), "off DISABLED");
    assert_eq!(after.flags()[0].stage, None);
    assert!(after.expire(2_000).is_none());
}

#[test]
fn without_rules_the_default_is_static() {
    assert_eq!(decide_one(&json!({}), |_| {}), "off STATIC");
    assert_eq!(decide_one(&json!({"default_variant": "on"}), |_| {}), "on STATIC");
    let never = json!([{"id": "never", "when": {"any_of": []}, "serve": {"variant": "off"}}]);
    assert_eq!(decide_one(&json!({"default_variant": "on", "rules": never}), |_| {}), "on DEFAULT");
}

#[test]
fn the_first_true_rule_acts_and_unknown_ones_do_not() {
    let unknown = json!({"attribute": "user.region", "op": "eq", "value": "HK"});
    let wrong = json!({"attribute": "user.id", "op": "lt", "value": 1});
    let rules = json!([
        {"id": "a", "when": unknown, "serve": {"variant": "off"}},
        {"id": "b", "when": {"not": unknown}, "serve": {"variant": "off"}},
        {"id": "c", "when": wrong, "serve": {"variant": "off"}},
        {"id": "d", "when": {"not": wrong}, "serve": {"variant": "off"}},
        {"id": "e", "when": {"any_of": []}, "serve": {"variant": "off"}},
        {"id": "f", "serve": {"variant": "on"}},
        {"id": "g", "serve": {"variant": "off"}},
    ]);
    assert_eq!(decide_one(&json!({"rules": rules}), |_| {}), "on TARGETING_MATCH f fixed");
}

#[test]
fn a_fixed_off_is_an_arm_too() {
    let rules =
        json!([{"id": "block", "serve": {"variant": "off"}}, {"id": "on", "serve": {"variant": "on"}}]);
    assert_eq!(decide_one(&json!({"rules": rules}), |_| {}), "off TARGETING_MATCH block fixed");
}

#[test]
fn where_only_user_ids_count_a_flag_of_another_unit_errs_alone() {
    let device = |fields: Value| {
        let mut flag = flag_json(&fields);
        flag["unit"] = json!("user.device_id");
        flag
    };
    let mut above =
        flag_json(&json!({"prerequisites": [{"flag": "device", "variants": ["on"]}], "rules": fixed()}));
    above["key"] = json!("above");
    let own = flag_json(&json!({"rules": ramp(100.0, 0.0)}));
    let foreign = device(json!({"key": "device", "rules": ramp(100.0, 0.0)}));
    let constant = device(json!({"key": "constant", "rules": fixed()}));
    let mut shut = stored(&device(json!({"key": "shut", "rules": fixed()})));
    shut.state = State::Killed;
    let flags = [own, foreign, constant, above].iter().map(stored).chain([shut]).collect();
    let snapshot = snapshot(Vec::new(), flags);
    let body = json!({"context": {"targetingKey": "u-1", "device_id": "d-1"}}).to_string();
    let unsigned = "ERROR unit_signature_invalid";
    for (flag, anybody, only_signed) in [
        ("flag", "on SPLIT ramp treatment", "on SPLIT ramp treatment"),
        ("device", "on SPLIT ramp treatment", unsigned),
        ("constant", "on TARGETING_MATCH fixed fixed", unsigned),
        ("above", "on TARGETING_MATCH fixed fixed", unsigned),
        ("shut", "off DISABLED", "off DISABLED"),
    ] {
        let mut parsed = crate::engine::context::parse_ofrep(body.as_bytes(), snapshot.attributes()).unwrap();
        let flag = snapshot.find(flag).unwrap();
        let decide =
            |context: &Context<'_>| line(&evaluate(&snapshot, flag, context, &NothingFetched, &mut Silent));
        assert_eq!(decide(&parsed.context), anybody, "{}", flag.key);
        parsed.context.trust_only_user_id();
        assert_eq!(decide(&parsed.context), only_signed, "{}", flag.key);
    }
    let mut guest = crate::engine::context::parse_ofrep(body.as_bytes(), snapshot.attributes()).unwrap();
    guest.context.forget_user_id();
    let flag = snapshot.find("flag").unwrap();
    assert_eq!(
        line(&evaluate(&snapshot, flag, &guest.context, &NothingFetched, &mut Silent)),
        "ERROR unit_missing"
    );
}

#[test]
fn a_unit_is_needed_by_what_hashes_or_looks_it_up() {
    let layer = json!({"key": "l", "from": 0, "to": 100});
    let member = |audience: Value| json!([{"id": "r", "when": audience, "serve": {"variant": "on"}}]);
    let missing = "ERROR unit_missing";
    for (fields, expected) in [
        (json!({}), "off STATIC"),
        (json!({"rules": fixed()}), "on TARGETING_MATCH fixed fixed"),
        (json!({"rules": ramp(0.0, 0.0)}), missing),
        (json!({ "layer": layer }), missing),
        (json!({"rules": member(json!({"audience": "users"}))}), missing),
        (json!({"rules": member(json!({"not": {"any_of": [{"audience": "users"}]}}))}), missing),
        // An audience of something else needs no unit, nor does that of the goods.
        (json!({"rules": member(json!({"audience": "users", "attribute": "user.device"}))}), "off DEFAULT"),
        (json!({"goods": {"exclude": [{"audience": "users"}]}}), "off TARGETING_MATCH"),
        (json!({"unit": "user.device", "rules": ramp(100.0, 0.0)}), missing),
        (json!({"prerequisites": [{"flag": "hashes", "variants": ["on"]}]}), missing),
        (json!({"prerequisites": [{"flag": "indirect", "variants": ["on"]}]}), missing),
        (json!({"prerequisites": [{"flag": "plain", "variants": ["off"]}]}), "off STATIC"),
    ] {
        let flags = [
            json!({"key": "hashes", "rules": ramp(100.0, 0.0)}),
            json!({"key": "indirect", "prerequisites": [{"flag": "hashes", "variants": ["on"]}]}),
            json!({"key": "plain"}),
            fields.clone(),
        ];
        let users = audience("users", AudienceKind::User, Some(&[]));
        let flags = flags.iter().map(|fields| stored(&flag_json(fields))).collect();
        let snapshot = snapshot(vec![users], flags);
        assert_eq!(decided(&snapshot, "flag", &json!({"x": 1})), expected, "{fields}");
    }
}

#[test]
fn the_unit_may_be_another_attribute() {
    let flag = of_flags(&[flag_json(&json!({"unit": "user.device", "rules": ramp(50.0, 0.0)}))]);
    let inside = unit_where("salt:", |bucket| bucket < 500_000);
    let outside = unit_where("salt:", |bucket| bucket >= 500_000);
    let decide = |device: &Value| decided(&flag, "flag", &json!({"targetingKey": inside, "device": device}));
    assert_eq!(decide(&json!(inside)), "on SPLIT ramp treatment");
    assert_eq!(decide(&json!(outside)), "off SPLIT ramp");
    for bad in [json!(""), json!(7), json!("d".repeat(257)), json!([inside])] {
        assert_eq!(decide(&bad), "ERROR unit_missing", "{bad}");
    }
}

/// What `flag` decides when it requires `on` of `other`, which `change` may shut.
fn requiring(other: &Value, change: impl FnOnce(&mut StoredFlag)) -> String {
    let mut other = stored(&flag_json(other));
    change(&mut other);
    let fields = json!({"prerequisites": [{"flag": "other", "variants": ["on"]}], "rules": fixed()});
    let away = audience("away", AudienceKind::User, None);
    decided(&snapshot(vec![away], vec![stored(&flag_json(&fields)), other]), "flag", &user())
}

#[test]
fn a_prerequisite_must_serve_one_of_its_variants() {
    let open = json!({"key": "other", "rules": fixed()});
    assert_eq!(requiring(&open, |_| {}), "on TARGETING_MATCH fixed fixed");
    assert_eq!(requiring(&open, |flag| flag.state = State::Killed), "off TARGETING_MATCH");
    assert_eq!(requiring(&open, |flag| flag.state = State::Archived), "off TARGETING_MATCH");
    assert_eq!(requiring(&open, |flag| flag.expired = true), "off TARGETING_MATCH");
    assert_eq!(requiring(&json!({"key": "other"}), |_| {}), "off TARGETING_MATCH");
    let gate = json!({"key": "other", "rules": fixed(), "goods": {}});
    assert_eq!(requiring(&gate, |_| {}), "off TARGETING_MATCH");
    let unreadable = json!({"key": "other", "rules": [
        {"id": "r", "when": {"audience": "away"}, "serve": {"variant": "off"}},
        {"id": "s", "serve": {"variant": "on"}},
    ]});
    assert_eq!(requiring(&unreadable, |_| {}), "ERROR audience_unavailable");
    let broken = |flag: &mut StoredFlag| flag.document = Err("from another release".into());
    assert_eq!(requiring(&open, broken), "ERROR flag_unreadable");
}

#[test]
fn a_killed_prerequisite_that_serves_what_is_required_holds() {
    let mut other = stored(&flag_json(&json!({"key": "other", "rules": fixed()})));
    other.state = State::Killed;
    let fields = json!({"prerequisites": [{"flag": "other", "variants": ["off"]}], "rules": fixed()});
    let snapshot = snapshot(Vec::new(), vec![other, stored(&flag_json(&fields))]);
    assert_eq!(decided(&snapshot, "flag", &user()), "on TARGETING_MATCH fixed fixed");
}

/// `count` flags: `f0` requires nothing, each other one the one before it.
fn chain(count: usize) -> Vec<Value> {
    let link = |n: usize| {
        let mut fields = json!({"key": format!("f{n}"), "rules": fixed()});
        if n > 0 {
            fields["prerequisites"] = json!([{"flag": format!("f{}", n - 1), "variants": ["on"]}]);
        }
        flag_json(&fields)
    };
    (0..count).map(link).collect()
}

#[test]
fn chains_are_followed_five_links_and_no_further() {
    let snapshot = of_flags(&chain(7));
    assert_eq!(decided(&snapshot, "f5", &user()), "on TARGETING_MATCH fixed fixed");
    assert_eq!(decided(&snapshot, "f6", &user()), "ERROR flag_unreadable");
    // A cycle cannot be written; a row of another release that holds one ends, too.
    let cycle = |key: &str, other: &str| {
        flag_json(
            &json!({"key": key, "prerequisites": [{"flag": other, "variants": ["on"]}], "rules": fixed()}),
        )
    };
    let snapshot = of_flags(&[cycle("a", "b"), cycle("b", "a"), cycle("self", "self")]);
    assert_eq!(decided(&snapshot, "a", &user()), "ERROR flag_unreadable");
    assert_eq!(decided(&snapshot, "self", &user()), "ERROR flag_unreadable");
}

#[test]
fn outside_the_layer_s_range_nothing_is_served() {
    let flag = |from: f64, to: f64| {
        of_flags(&[flag_json(&json!({"layer": {"key": "pay", "from": from, "to": to}, "rules": fixed()}))])
    };
    let decide = |from, to, unit: &str| decided(&flag(from, to), "flag", &json!({"targetingKey": unit}));
    let low = unit_where("pay/layer:", |bucket| bucket < 500_000);
    let high = unit_where("pay/layer:", |bucket| bucket >= 500_000);
    assert_eq!(decide(0.0, 50.0, &low), "on TARGETING_MATCH fixed fixed");
    assert_eq!(decide(0.0, 50.0, &high), "off SPLIT");
    assert_eq!(decide(50.0, 100.0, &low), "off SPLIT");
    assert_eq!(decide(50.0, 100.0, &high), "on TARGETING_MATCH fixed fixed");
    // `from` belongs to the range, `to` does not.
    let exact = f64::from(Salted::new("pay/layer:").bucket(&low).ppm()) / 10_000.0;
    assert_eq!(decide(exact, 100.0, &low), "on TARGETING_MATCH fixed fixed");
    assert_eq!(decide(0.0, exact, &low), "off SPLIT");
}

#[test]
fn the_order_of_the_steps_names_the_reason() {
    let mut fields = json!({
        "prerequisites": [{"flag": "other", "variants": ["on"]}],
        "layer": {"key": "pay", "from": 0, "to": 50},
        "goods": {},
        "rules": fixed(),
    });
    let (inside, outside) = (
        unit_where("pay/layer:", |bucket| bucket < 500_000),
        unit_where("pay/layer:", |bucket| bucket >= 500_000),
    );
    let decide = |fields: &Value, unit: &str, goods: &Value| {
        let snapshot = of_flags(&[flag_json(fields), flag_json(&json!({"key": "other"}))]);
        decided(&snapshot, "flag", &json!({"targetingKey": unit, "goods": goods}))
    };
    let goods = json!([{"id": "g"}]);
    assert_eq!(decide(&fields, &outside, &json!([])), "off TARGETING_MATCH");
    fields["prerequisites"] = json!([]);
    assert_eq!(decide(&fields, &outside, &json!([])), "off SPLIT");
    assert_eq!(decide(&fields, &inside, &json!([])), "off TARGETING_MATCH");
    assert_eq!(decide(&fields, &inside, &goods), "on TARGETING_MATCH fixed fixed");
}

#[test]
fn treatment_grows_from_the_bottom_and_control_from_the_top() {
    let units: Vec<String> = [
        |bucket: u32| bucket < 50_000,
        |bucket: u32| (50_000..900_000).contains(&bucket),
        |bucket: u32| bucket >= 900_000,
    ]
    .iter()
    .map(|wanted| unit_where("salt:", wanted))
    .collect();
    for (percent, control, expected) in [
        (5.0, 10.0, ["on SPLIT ramp treatment", "off SPLIT ramp", "off SPLIT ramp control"]),
        (0.0, 0.0, ["off SPLIT ramp"; 3]),
        (100.0, 0.0, ["on SPLIT ramp treatment"; 3]),
        (0.0, 100.0, ["off SPLIT ramp control"; 3]),
        (90.0, 10.0, ["on SPLIT ramp treatment", "on SPLIT ramp treatment", "off SPLIT ramp control"]),
    ] {
        let snapshot = of_flags(&[flag_json(&json!({"rules": ramp(percent, control)}))]);
        for (unit, expected) in units.iter().zip(expected) {
            assert_eq!(decided(&snapshot, "flag", &json!({"targetingKey": unit})), expected, "{percent}");
        }
    }
}

#[test]
fn a_percentage_ends_exactly_at_its_bucket() {
    let unit = unit_where("salt:", |bucket| (1..999_999).contains(&bucket));
    let bucket = f64::from(Salted::new("salt:").bucket(&unit).ppm());
    let decide = |percent: f64, control: f64| {
        let snapshot = of_flags(&[flag_json(&json!({"rules": ramp(percent, control)}))]);
        decided(&snapshot, "flag", &json!({"targetingKey": unit}))
    };
    assert_eq!(decide(bucket / 10_000.0, 0.0), "off SPLIT ramp");
    assert_eq!(decide((bucket + 1.0) / 10_000.0, 0.0), "on SPLIT ramp treatment");
    assert_eq!(decide(0.0, (1_000_000.0 - bucket) / 10_000.0), "off SPLIT ramp control");
    assert_eq!(decide(0.0, (999_999.0 - bucket) / 10_000.0), "off SPLIT ramp");
}

#[test]
fn the_split_is_cut_in_the_byte_order_of_the_keys() {
    let split = json!({"b": 2, "B": 1, "a": 1, "z": 0});
    let flag = flag_json(&json!({
        "value_type": "string", "variants": {"off": "", "a": "", "B": "", "b": "", "z": ""},
        "rules": [{"id": "r", "serve": rollout(100.0, 0.0, &split)}],
    }));
    let snapshot = of_flags(&[flag]);
    for (from, to, variant) in [(0, 250_000, "B"), (250_000, 500_000, "a"), (500_000, 1_000_000, "b")] {
        for wanted in [from, (from + to) / 2] {
            let unit = unit_where("salt/split:", |bucket| (wanted..to).contains(&bucket));
            let decided = decided(&snapshot, "flag", &json!({"targetingKey": unit}));
            assert_eq!(decided, format!("{variant} SPLIT r treatment"));
        }
    }
    // Cuts between parts per million go by whole numbers: thirds end at 333_334 and 666_667.
    let flag = flag_json(&json!({
        "value_type": "string", "variants": {"off": "", "a": "", "b": "", "c": ""},
        "rules": [{"id": "r", "serve": rollout(100.0, 0.0, &json!({"a": 1, "b": 1, "c": 1}))}],
    }));
    let snapshot = of_flags(&[flag]);
    let flag = &snapshot.flags()[0];
    let Serve::Rollout { split, .. } = &flag.rules()[0].serve else { panic!("a rollout") };
    let variant = |ppm: u32| {
        let hash = (0..=u32::MAX)
            .rev()
            .step_by(1 << 10)
            .find(|hash| crate::engine::bucket::Bucket::from_hash(*hash).ppm() == ppm);
        let bucket = crate::engine::bucket::Bucket::from_hash(hash.unwrap());
        flag.variants()[usize::from(split.choose(|| bucket).unwrap())].key.to_string()
    };
    for (ppm, expected) in
        [(0, "a"), (333_333, "a"), (333_334, "b"), (666_666, "b"), (666_667, "c"), (999_999, "c")]
    {
        assert_eq!(variant(ppm), expected, "{ppm}");
    }
}

#[test]
fn an_unreadable_audience_ends_the_flag_where_it_matters() {
    let away = || vec![audience("away", AudienceKind::User, None)];
    let decide = |rules: &Value| {
        let flag = stored(&flag_json(&json!({ "rules": rules })));
        decided(&snapshot(away(), vec![flag]), "flag", &user())
    };
    let blocked = json!({"id": "block", "when": {"audience": "away"}, "serve": {"variant": "off"}});
    let open = json!({"id": "open", "serve": {"variant": "on"}});
    // Skipping the blocking rule would open the next one.
    assert_eq!(decide(&json!([blocked, open])), "ERROR audience_unavailable");
    assert_eq!(decide(&json!([open, blocked])), "on TARGETING_MATCH open fixed");
    let no = json!({"any_of": []});
    for (when, expected) in [
        (json!({"not": {"audience": "away"}}), "ERROR audience_unavailable"),
        (json!({"all_of": [{"audience": "away"}, no]}), "on TARGETING_MATCH open fixed"),
        (json!({"all_of": [no, {"audience": "away"}]}), "on TARGETING_MATCH open fixed"),
        (json!({"any_of": [{"audience": "away"}, {"all_of": []}]}), "off TARGETING_MATCH block fixed"),
        (
            json!({"all_of": [{"audience": "away"}, {"attribute": "user.x", "op": "eq", "value": 1}]}),
            "ERROR audience_unavailable",
        ),
    ] {
        let rules = json!([{"id": "block", "when": when, "serve": {"variant": "off"}}, open]);
        assert_eq!(decide(&rules), expected, "{when}");
    }
}

#[test]
fn fetched_memberships_stand_in_for_what_is_not_in_memory() {
    struct Fetched;
    impl Memberships for Fetched {
        fn of(&self, _audience: AudienceIndex, id: &str) -> Membership {
            if id == "u-1" { Membership::Member } else { Membership::Stranger }
        }
    }
    let rules = json!([{"id": "r", "when": {"audience": "away"}, "serve": {"variant": "on"}}]);
    let away = audience("away", AudienceKind::User, None);
    let snapshot = snapshot(vec![away], vec![stored(&flag_json(&json!({ "rules": rules })))]);
    for (unit, expected) in [("u-1", "on TARGETING_MATCH r fixed"), ("u-2", "off DEFAULT")] {
        with_context(&snapshot, &json!({"targetingKey": unit}), |parsed| {
            let decision = evaluate(&snapshot, &snapshot.flags()[0], &parsed.context, &Fetched, &mut Silent);
            assert_eq!(line(&decision), expected);
        });
    }
}

#[test]
fn what_flags_have_in_common_is_asked_once() {
    struct Counting(Cell<usize>);
    impl Memberships for Counting {
        fn of(&self, _audience: AudienceIndex, _id: &str) -> Membership {
            self.0.set(self.0.get() + 1);
            Membership::Stranger
        }
    }
    let flag = |at: usize, unit: &str| {
        let rules = json!([{"id": "r", "when": {"audience": "away"}, "serve": {"variant": "on"}}]);
        stored(&flag_json(&json!({"key": format!("f-{at}"), "unit": unit, "rules": rules})))
    };
    let flags = vec![flag(1, "user.id"), flag(2, "user.id"), flag(3, "user.device"), flag(4, "user.id")];
    let snapshot = snapshot(vec![audience("away", AudienceKind::User, None)], flags);
    with_context(&snapshot, &json!({"targetingKey": "u-1", "device": "d-1"}), |parsed| {
        let (asked, memo) = (Counting(Cell::new(0)), Memo::default());
        for flag in snapshot.flags() {
            let decision = evaluate_among(&snapshot, flag, &parsed.context, &asked, &memo);
            assert_eq!(line(&decision), "off DEFAULT");
        }
        assert_eq!(asked.0.get(), 2, "once for each unit");
    });
}

#[test]
fn explaining_shows_every_step() {
    let flag = flag_json(&json!({
        "layer": {"key": "pay", "from": 0, "to": 100}, "goods": {"include": [{"all_of": []}]},
        "rules": [
            {"id": "a", "when": {"attribute": "user.x", "op": "eq", "value": 1}, "serve": {"variant": "on"}},
            {"id": "b", "serve": rollout(100.0, 0.0, &json!({"on": 1}))},
        ],
    }));
    let snapshot = of_flags(&[flag]);
    let context = json!({"targetingKey": "u-1", "goods": [{"id": "g"}]});
    with_context(&snapshot, &context, |parsed| {
        let mut recorder = Recorder::new(&snapshot);
        let decision =
            evaluate(&snapshot, &snapshot.flags()[0], &parsed.context, &NothingFetched, &mut recorder);
        assert_eq!(line(&decision), "on SPLIT b treatment");
        let steps = recorder.steps();
        let names: Vec<_> =
            steps.iter().map(|s| (s["step"].as_str().unwrap(), s["result"].clone())).collect();
        assert_eq!(
            names,
            [
                ("state", json!(true)),
                ("layer", json!(true)),
                ("goods", json!(true)),
                ("rule", json!("unknown")),
                ("rule", json!("true")),
                ("rollout", json!("treatment")),
            ]
        );
        assert_eq!(steps[3]["steps"][0]["cause"], "missing");
        let bucket = Salted::new("salt:").bucket("u-1").ppm();
        assert_eq!(steps[5]["bucket"], bucket);
    });
}
