//! What holds for every document and every context.

use proptest::prelude::{any, *};

use super::*;
use crate::engine::condition::tests::{any_condition, any_facts};
use crate::engine::context::{parse_decision, parse_ofrep};
use crate::engine::decision::{Arm, Decision};

fn world(flags: &[Value]) -> Snapshot {
    let audiences = vec![
        audience("users", AudienceKind::User, Some(&["u-1", "d-1"])),
        audience("nobody", AudienceKind::User, Some(&[])),
        audience("away", AudienceKind::User, None),
    ];
    snapshot(audiences, flags.iter().map(|fields| stored(&flag_json(fields))).collect())
}

fn any_serve() -> impl Strategy<Value = Value> {
    let split =
        prop_oneof![Just(json!({"a": 1})), Just(json!({"a": 1, "b": 2})), Just(json!({"b": 3, "a": 0}))];
    prop_oneof![
        prop_oneof![Just("a"), Just("b"), Just("off")].prop_map(|variant| json!({ "variant": variant })),
        (0..=100_u32, 0..=100_u32, split).prop_map(|(percent, rest, split)| {
            let control = (100 - percent) * rest / 100;
            rollout(percent.into(), control.into(), &split)
        }),
    ]
}

fn any_gate() -> impl Strategy<Value = Value> {
    let conditions = || prop::collection::vec(any_condition("goods"), 0..3);
    let matching = prop_oneof![
        Just(json!({"match": "all"})),
        Just(json!({"match": "any"})),
        (0..=100).prop_map(|share| json!({"match": "value_share", "share_percent": share})),
    ];
    (matching, conditions(), conditions(), any::<bool>(), 0..=100).prop_map(
        |(mut gate, include, exclude, required, percent)| {
            gate["include"] = json!(include);
            gate["exclude"] = json!(exclude);
            gate["required"] = json!(required);
            gate["rollout_percent"] = json!(percent);
            gate
        },
    )
}

/// Any valid flag of three variants; it may require the flag `other`.
fn any_flag() -> impl Strategy<Value = Value> {
    let rules = prop::collection::vec((prop::option::of(any_condition("user")), any_serve()), 0..4);
    let layer = (0..100_u32, 1..=100_u32)
        .prop_map(|(from, size)| json!({"key": "l", "from": from, "to": (from + size).min(100)}));
    let unit = prop_oneof![3 => Just("user.id"), 1 => Just("user.a")];
    let parts = (rules, prop::option::of(layer), prop::option::of(any_gate()), any::<bool>(), unit);
    parts.prop_map(|(rules, layer, gate, requires, unit)| {
        let rules: Vec<_> = (0..)
            .zip(rules)
            .map(|(at, (when, serve))| {
                let when = when.unwrap_or_else(|| json!({"all_of": []}));
                json!({"id": format!("r{at}"), "when": when, "serve": serve})
            })
            .collect();
        let mut flag = json!({
            "value_type": "integer", "variants": {"off": 0, "a": 1, "b": 2}, "unit": unit, "rules": rules,
        });
        if let Some(layer) = layer {
            flag["layer"] = layer;
        }
        if let Some(gate) = gate {
            flag["goods"] = gate;
        }
        if requires {
            flag["prerequisites"] = json!([{"flag": "other", "variants": ["on"]}]);
        }
        flag
    })
}

fn any_context() -> impl Strategy<Value = Value> {
    (any_facts(), prop::option::of(prop::collection::vec((any_facts(), prop::option::of(0..5)), 0..4)))
        .prop_map(|(mut context, goods)| {
            let item = |(at, (mut facts, price)): (usize, (Value, Option<i32>))| {
                let item = facts.as_object_mut().unwrap();
                item.remove("targetingKey");
                item.insert("id".into(), format!("g-{at}").into());
                item.insert("price".into(), price.into());
                facts
            };
            if let Some(goods) = goods {
                context["goods"] = goods.into_iter().enumerate().map(item).collect();
            }
            context
        })
}

fn run<R>(snapshot: &Snapshot, context: &Value, look: impl FnOnce(&Decision<'_>) -> R) -> R {
    with_context(snapshot, context, |parsed| {
        let flag = snapshot.find("flag").unwrap();
        look(&evaluate(snapshot, flag, &parsed.context, &NothingFetched, &mut Silent))
    })
}

/// The arm and the variant of one decision.
fn place(snapshot: &Snapshot, context: &Value) -> (Option<Arm>, u16) {
    run(snapshot, context, |decision| {
        let served = decision.result.unwrap();
        (served.arm, served.variant)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn flags_decide_together_as_each_alone(
        flags in prop::collection::vec(any_flag(), 1..4), context in any_context(), other in any::<bool>(),
    ) {
        let rules = if other { fixed() } else { json!([]) };
        let mut all = vec![json!({"key": "other", "rules": rules})];
        for (at, mut flag) in flags.into_iter().enumerate() {
            // Each stands there twice, the second time with another unit.
            for unit in ["user.id", "user.b"] {
                flag["key"] = format!("f-{at}-{unit}").into();
                flag["unit"] = unit.into();
                all.push(flag.clone());
            }
        }
        let snapshot = world(&all);
        with_context(&snapshot, &context, |parsed| {
            let memo = Memo::default();
            // Twice: the second time everything is known that can be.
            for flag in snapshot.flags().iter().chain(snapshot.flags()) {
                let alone = evaluate(&snapshot, flag, &parsed.context, &NothingFetched, &mut Silent);
                let among = evaluate_among(&snapshot, flag, &parsed.context, &NothingFetched, &memo);
                assert_eq!((among.result, among.goods), (alone.result, alone.goods), "{}", flag.json);
            }
        });
    }

    #[test]
    fn explaining_is_deciding_watched(flag in any_flag(), context in any_context(), other in any::<bool>()) {
        let rules = if other { fixed() } else { json!([]) };
        let snapshot = world(&[flag, json!({"key": "other", "rules": rules})]);
        with_context(&snapshot, &context, |parsed| {
            let flag = snapshot.find("flag").unwrap();
            assert!(flag.broken.is_none());
            let silent = evaluate(&snapshot, flag, &parsed.context, &NothingFetched, &mut Silent);
            let mut recorder = Recorder::new(&snapshot);
            let loud = evaluate(&snapshot, flag, &parsed.context, &NothingFetched, &mut recorder);
            assert_eq!((silent.result, silent.goods), (loud.result, loud.goods));
            // A visible entry always has an arm or is the default, and control is never visible.
            if let Ok(served) = silent.result {
                assert!(served.arm != Some(Arm::Control) || !silent.is_visible());
                assert!(served.arm != Some(Arm::Treatment) || silent.is_visible());
                // What is measured was foreseen: its token's statement stands ready.
                let document = flag.document.as_ref().unwrap();
                let rule = served.rule.and_then(|at| document.rules.get(usize::from(at)));
                let outcomes = rule.map(|rule| rule.serve.outcomes(&document.off_variant)).unwrap_or_default();
                let variant = &silent.variant().unwrap().key;
                assert!(served.arm.is_none_or(|arm| outcomes.contains(&(variant, arm))));
                // The bucket that a rollout asked for is the unit's own.
                let bucket = parsed.context.unit(flag.unit()).map(|unit| flag.bucket(unit));
                assert!(served.bucket.is_none_or(|own| Some(own) == bucket));
            }
            assert!(!recorder.steps().is_empty());
        });
    }

    /// Who is in stays in, in the same variant; who is control stays control unless it is shrunk.
    #[test]
    fn growing_a_percentage_moves_nobody(
        unit in "[a-z0-9]{1,12}", salt in "[a-z]{1,9}", from in 0..=900_000_u32, more in 0..=100_000_u32,
        control in 0..=1_000_000_u32, context in any_facts(),
    ) {
        let control = control.min(1_000_000 - from - more);
        let grown = |ppm: u32| {
            let percent = |ppm: u32| f64::from(ppm) / 10_000.0;
            let serve = rollout(percent(ppm), percent(control), &json!({"a": 1, "b": 2}));
            world(&[json!({
                "value_type": "integer", "variants": {"off": 0, "a": 1, "b": 2}, "salt": salt,
                "rules": [{"id": "ramp", "serve": serve}],
            })])
        };
        let (small, large) = (grown(from), grown(from + more));
        let mut first = context;
        first["targetingKey"] = unit.into();
        let (before, after) = (place(&small, &first), place(&large, &first));
        if before.0.is_some() {
            prop_assert_eq!(before, after);
        }
        // Whatever else is said of the unit: its attributes have no part in it.
        let second = json!({"targetingKey": first["targetingKey"], "b": "y", "order": {"id": "o"}});
        prop_assert_eq!(place(&large, &second), after);
    }

    #[test]
    fn disjoint_ranges_of_a_layer_never_meet(unit in ".{1,20}", cut in 1..999_999_u32, gap in 0..2_u32) {
        let (cut, next) = (f64::from(cut) / 10_000.0, f64::from((cut + gap).min(999_999)) / 10_000.0);
        let flag = |key: &str, salt: &str, from: f64, to: f64| {
            flag_json(&json!({
                "key": key, "salt": salt, "layer": {"key": "l", "from": from, "to": to}, "rules": fixed(),
            }))
        };
        let snapshot = of_flags(&[flag("a", "x", 0.0, cut), flag("b", "y", next, 100.0)]);
        prop_assume!(unit.len() <= 256 && !unit.contains('\0'));
        let context = json!({"targetingKey": unit});
        let open = |key: &str| decided(&snapshot, key, &context).starts_with("on");
        prop_assert!(!(open("a") && open("b")));
        prop_assert!(gap > 0 || open("a") || open("b"));
    }

    /// A rule acts on true alone. So where no rule serves off, forgetting facts about the shopper, or failing to
    /// read an audience, never opens: for any conditions, negated ones too. (With blocking rules it can: an
    /// attribute that nobody sent leaves such a rule unknown. Unreadable audiences end the flag instead.)
    #[test]
    fn knowing_less_never_opens(
        whens in prop::collection::vec(any_condition("user"), 0..4), facts in any_facts(),
        taken in prop::collection::vec(any::<bool>(), 4),
    ) {
        let rules: Vec<_> = (0..).zip(whens)
            .map(|(at, when)| json!({"id": format!("r{at}"), "when": when, "serve": {"variant": "on"}}))
            .collect();
        let snapshot = world(&[json!({ "rules": rules })]);
        let mut fewer = facts.clone();
        for (name, _) in ["a", "b", "c", "targetingKey"].iter().zip(taken).filter(|(_, taken)| *taken) {
            fewer[*name] = Value::Null;
        }
        let visible = |context: &Value| run(&snapshot, context, |decision| decision.is_visible());
        // `away` is unreadable to both; an error is not visible, and may hide what a known rule would have shown.
        let error = run(&snapshot, &facts, |decision| decision.result.is_err());
        prop_assert!(error || !visible(&fewer) || visible(&facts), "{facts} {fewer}");
    }

    /// The same flag with all audiences readable, and with none: what opens without them opens with them.
    #[test]
    fn an_unreadable_audience_never_opens(flag in any_flag(), context in any_context(), member in any::<bool>()) {
        struct Known(Membership);
        impl Memberships for Known {
            fn of(&self, _audience: AudienceIndex, _id: &str) -> Membership {
                self.0
            }
        }
        let audiences = ["users", "nobody", "away"].map(|key| audience(key, AudienceKind::User, None));
        let other = stored(&flag_json(&json!({"key": "other", "rules": fixed()})));
        let snapshot = snapshot(audiences.into(), vec![stored(&flag_json(&flag)), other]);
        with_context(&snapshot, &context, |parsed| {
            let flag = snapshot.find("flag").unwrap();
            let readable = Known(if member { Membership::Member } else { Membership::Stranger });
            let blind = evaluate(&snapshot, flag, &parsed.context, &NothingFetched, &mut Silent);
            let seeing = evaluate(&snapshot, flag, &parsed.context, &readable, &mut Silent);
            // It decides the same, or says that it cannot.
            if blind.result != Err(DecisionError::AudienceUnavailable) {
                assert_eq!((blind.result, blind.goods), (seeing.result, seeing.goods));
            }
        });
    }

    #[test]
    fn no_body_panics(flag in any_flag(), context in any_context(), noise in any::<i64>()) {
        let snapshot = world(&[flag, json!({"key": "other", "rules": fixed()})]);
        let order = json!({"amount": noise, "goods": context["goods"]});
        for body in [
            json!({"context": context}).to_string(),
            json!({"context": {"targetingKey": noise.to_string(), "goods": [{"id": "g", "price": noise}]}}).to_string(),
            json!({"placement": "c", "user": context, "order": order}).to_string(),
        ] {
            for parsed in [
                parse_ofrep(body.as_bytes(), snapshot.attributes()),
                parse_decision(body.as_bytes(), snapshot.attributes()),
            ] {
                let Ok(parsed) = parsed else { continue };
                for flag in snapshot.flags() {
                    let decision = evaluate(&snapshot, flag, &parsed.context, &NothingFetched, &mut Silent);
                    prop_assert!(decision.variant().is_some() == decision.result.is_ok());
                }
            }
        }
    }

    #[test]
    fn the_least_value_is_the_formula_s(value in 0..2_i128.pow(90), total in 1..2_i128.pow(90), ppm in 0..=PPM) {
        let share = Share::from_percent(f64::from(ppm) / 10_000.0).unwrap();
        let by_products = value * i128::from(PPM) >= total * i128::from(ppm);
        prop_assert_eq!(value >= least_value(total, share), by_products);
        prop_assert_eq!(least_value(total, share) * i128::from(PPM) >= total * i128::from(ppm), true);
    }
}
