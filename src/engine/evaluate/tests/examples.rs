//! The two flags of the case, as `serve` seeds them, in situations of a real checkout.

use super::*;
use crate::engine::flag::{Faults, read};
use crate::engine::validate::validate;

const SCAN: &str = include_str!("../../../../examples/wechat-scan-pay.json");
const FRIEND: &str = include_str!("../../../../examples/wechat-friend-pay.json");

fn shop() -> Snapshot {
    let audiences = vec![
        audience("wechat-testers", AudienceKind::User, Some(&["tester-1"])),
        audience("wechat-excluded-goods", AudienceKind::Goods, Some(&["g-excluded"])),
    ];
    let flags = [SCAN, FRIEND].map(|text| {
        let mut json: Value = serde_json::from_str(text).unwrap();
        json["salt"] = "salt".into();
        stored(&json)
    });
    snapshot(audiences, flags.into())
}

fn shopper(unit: &str, version: &str, region: &str, goods: &Value) -> Value {
    json!({
        "targetingKey": unit, "app_version": version, "region": region,
        "order": {"id": "o-1", "currency": "CNY"}, "goods": goods,
    })
}

#[test]
fn nothing_is_wrong_with_the_examples() {
    let shop = shop();
    for text in [SCAN, FRIEND] {
        let mut faults = Faults::default();
        let document = read(&serde_json::from_str(text).unwrap(), &mut faults).unwrap();
        assert_eq!(validate(&document, &shop, &mut faults), []);
        assert_eq!(faults.0, []);
        assert_eq!(document.salt, None);
    }
    let entries: Vec<_> = shop.entries("checkout").map(|flag| flag.key.as_str()).collect();
    assert_eq!(entries, ["wechat-scan-pay", "wechat-friend-pay"]);
}

#[test]
fn scan_pay_opens_to_testers_and_to_a_few() {
    let shop = shop();
    let treated = unit_where("salt:", |bucket| bucket < 50_000);
    let control = unit_where("salt:", |bucket| bucket >= 950_000);
    let outside = unit_where("salt:", |bucket| (50_000..950_000).contains(&bucket));
    let good = json!([{"id": "g-1", "category": "shoes", "price": 45_900}]);
    let shut = "off TARGETING_MATCH";
    for (unit, version, region, goods, expected) in [
        ("tester-1", "9.0", "HK", &good, "on TARGETING_MATCH invited fixed"),
        (&*treated, "10.9.0", "CN-31", &good, "on SPLIT ramp treatment"),
        (&*treated, "v10.10", "CN-31", &good, "on SPLIT ramp treatment"),
        (&*control, "10.9.0", "CN-31", &good, "off SPLIT ramp control"),
        (&*outside, "10.9.0", "CN-31", &good, "off SPLIT ramp"),
        (&*treated, "10.8.9", "CN-31", &good, "off DEFAULT"),
        (&*treated, "10.9.0", "HK", &good, "off DEFAULT"),
        (&*treated, "new", "CN-31", &good, "off DEFAULT"),
        ("tester-1", "10.9.0", "CN-31", &json!([{"id": "g-1", "category": "food"}]), shut),
        ("tester-1", "10.9.0", "CN-31", &json!([{"id": "g-excluded", "category": "shoes"}]), shut),
        ("tester-1", "10.9.0", "CN-31", &json!([{"id": "g", "category": "books", "virtual": true}]), shut),
        ("tester-1", "10.9.0", "CN-31", &json!([]), shut),
    ] {
        let context = shopper(unit, version, region, goods);
        assert_eq!(decided(&shop, "wechat-scan-pay", &context), expected, "{context}");
    }
    // "Not in HK" does not open to somebody whose region nobody sent.
    let context = json!({"targetingKey": treated, "app_version": "10.9.0", "goods": good});
    assert_eq!(decided(&shop, "wechat-scan-pay", &context), "off DEFAULT");
    assert_eq!(decided(&shop, "wechat-scan-pay", &json!({"goods": good})), "ERROR unit_missing");
}

#[test]
fn friend_pay_tests_two_ways_on_half_of_the_goods() {
    let shop = shop();
    let inside = unit_where("salt/goods:", |bucket| bucket < 500_000);
    let outside = unit_where("salt/goods:", |bucket| bucket >= 500_000);
    let context = |unit: &str, goods: &[&str]| {
        let goods: Vec<_> = goods.iter().map(|id| json!({"id": id, "price": 100})).collect();
        shopper(unit, "10.9.0", "CN-31", &json!(goods))
    };
    let decide = |unit: &str, goods: &[&str]| decided(&shop, "wechat-friend-pay", &context(unit, goods));
    assert_eq!(decide("tester-1", &[&inside]), "copy_link TARGETING_MATCH invited fixed");
    assert_eq!(decide("tester-1", &[&outside, &inside]), "copy_link TARGETING_MATCH invited fixed");
    assert_eq!(decide("tester-1", &[&outside]), "off TARGETING_MATCH");
    assert_eq!(decide("tester-1", &["g-excluded"]), "off TARGETING_MATCH");
    let (rollout, split) = (Salted::new("salt:"), Salted::new("salt/split:"));
    for (copy_link, expected) in
        [(true, "copy_link SPLIT ramp treatment"), (false, "share_card SPLIT ramp treatment")]
    {
        let unit = (0..)
            .map(|n| format!("u-{n}"))
            .find(|unit| {
                rollout.bucket(unit).ppm() < 100_000 && (split.bucket(unit).ppm() < 500_000) == copy_link
            })
            .unwrap();
        assert_eq!(decide(&unit, &[&inside]), expected);
    }
}
