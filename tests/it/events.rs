//! Which events are taken, why the others are not, and the rows that they leave.

mod rows;
mod rules;

use std::path::Path;

use huidu::clock::DAY_MS;
use huidu::engine::decision::Arm;
use huidu::store::{Counts, ExposureRow, OpenOptions, Store, open};
use huidu::token::batch::Batch;
use huidu::token::{Decided, TokenKeys, decided};
use serde_json::{Value, json};

use crate::fixture::Huidu;

/// The environment `production`.
pub(crate) const PRODUCTION: i64 = 1;

/// A stored step.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Step {
    pub(crate) unit: String,
    pub(crate) unit_attribute: String,
    pub(crate) step: String,
    pub(crate) id: String,
    pub(crate) flag: Option<i64>,
    pub(crate) stage: Option<i64>,
    pub(crate) rule: Option<String>,
    pub(crate) value: Option<i64>,
    pub(crate) currency: Option<String>,
    pub(crate) order_id: Option<String>,
    pub(crate) at: i64,
    pub(crate) attributes: Option<String>,
}

pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The time `ms` from now, as events carry it.
pub(crate) fn from_now(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(now_ms() + ms).unwrap().to_string()
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn with_store<T>(database: &Path, read: impl AsyncFnOnce(&Store) -> T) -> T {
    wait(async {
        let url = format!("sqlite:{}", database.display());
        let store = open(&url, &OpenOptions::default()).await.unwrap();
        let found = read(&store).await;
        store.close().await;
        found
    })
}

/// The exposures of a unit in the database.
pub(crate) fn exposures(huidu: &Huidu, attribute: &str, unit: &str) -> Vec<ExposureRow> {
    with_store(&huidu.database(), async |store| {
        store.unit_exposures(PRODUCTION, &[(attribute, unit)]).await.unwrap()
    })
}

pub(crate) fn counts(huidu: &Huidu) -> Counts {
    with_store(&huidu.database(), async |store| store.counts(PRODUCTION).await.unwrap())
}

/// All steps in the database, by key.
pub(crate) fn steps(huidu: &Huidu) -> Vec<Step> {
    wait(async {
        let url = format!("sqlite:{}", huidu.database().display());
        let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
        let sql = "SELECT unit, unit_attribute, step, id, flag, stage, rule, value, currency, order_id, at, \
                   attributes FROM steps WHERE environment = 1 ORDER BY unit, unit_attribute, step, id";
        let rows = sqlx::query_as(sql).fetch_all(&pool).await.unwrap();
        pool.close().await;
        rows
    })
}

/// The stored steps with this event id.
pub(crate) fn steps_of(huidu: &Huidu, id: &str) -> Vec<Step> {
    steps(huidu).into_iter().filter(|step| step.id == id).collect()
}

/// Seals statements with the service's own key.
pub(crate) struct Sealer(TokenKeys);

impl Sealer {
    pub(crate) fn of(huidu: &Huidu) -> Self {
        let rows = with_store(&huidu.database(), async |store| store.secrets("token").await.unwrap());
        Self(TokenKeys::new(rows.iter().map(|row| {
            (u16::try_from(row.number).unwrap(), <[u8; 32]>::try_from(row.value.as_slice()).unwrap())
        })))
    }

    /// A token of the treatment of the flag `gift`, `days` old.
    pub(crate) fn token(&self, unit: &str, days: i64) -> String {
        self.of_environment(PRODUCTION, "gift", unit, days)
    }

    pub(crate) fn of_environment(&self, environment: i64, flag: &str, unit: &str, days: i64) -> String {
        let day = now_ms().div_euclid(DAY_MS) - days;
        let statement = decided(&Decided {
            flag,
            stage: 1,
            rule: "ramp",
            arm: Arm::Treatment,
            variant: "on",
            unit_attribute: "user.id",
        });
        let mut batch = Batch::new(self.0.sealer(environment, day).unwrap(), 1);
        let place = batch.push(&statement, unit, Some(7), std::iter::once(("region", "CN-31")));
        String::from_utf8(batch.seal().text(place).unwrap().to_vec()).unwrap()
    }
}

/// A flag that measures everybody in region CN-31, and nobody else but for testers.
pub(crate) fn gift() -> Value {
    json!({
        "key": "gift", "value_type": "boolean", "salt": "gift",
        "variants": {"off": false, "on": true}, "off_variant": "off",
        "rules": [
            {"id": "vip", "when": {"attribute": "user.vip", "op": "eq", "value": true}, "serve": {"variant": "on"}},
            {"id": "ramp", "when": {"attribute": "user.region", "op": "eq", "value": "CN-31"},
             "serve": {"rollout": {"percent": 100}}},
        ],
        "funnel": ["gift_opened", "gift_sent"],
        "metrics": [{"step": "order_paid", "by": "payment_method"}, "gift_returned"],
        "attribution_hours": 2, "capture": ["user.region"],
    })
}

/// A flag of devices instead of users.
fn device() -> Value {
    json!({
        "key": "device", "value_type": "boolean", "unit": "user.device_id", "salt": "device",
        "variants": {"off": false, "on": true}, "off_variant": "off", "funnel": ["device_opened"],
        "rules": [{"id": "ramp", "serve": {"rollout": {"percent": 100}}}],
    })
}

/// A service with the flags above, and `gone`, which was killed.
pub(crate) fn shop() -> Huidu {
    let huidu = Huidu::start();
    huidu.create_flag(&gift());
    huidu.create_flag(&device());
    let mut gone = gift();
    gone["key"] = json!("gone");
    gone["metrics"] = json!(["gone_paid"]);
    gone["funnel"] = json!(["gone_opened"]);
    huidu.create_flag(&gone);
    huidu.manage("POST", "/flags/gone/kill", None, &json!({"reason": "test"})).expect(200);
    huidu
}

/// Sends one event; what became of it: `accepted`, `duplicate` or the code, and the detail.
#[track_caller]
pub(crate) fn fate(huidu: &Huidu, key: &str, event: &Value) -> (String, String) {
    let answer = huidu.events(key, &json!([event])).expect(200).json();
    let [accepted, duplicates] = ["accepted", "duplicates"].map(|field| answer[field].as_u64().unwrap());
    let rejected = answer["rejected"].as_array().unwrap();
    assert_eq!(accepted + duplicates + rejected.len() as u64, 1, "{answer}");
    if let Some(rejection) = rejected.first() {
        assert_eq!((&rejection["index"], &rejection["id"]), (&json!(0), &event["id"]), "{answer}");
        let text = |field: &str| rejection[field].as_str().unwrap().to_owned();
        return (text("code"), text("detail"));
    }
    (if accepted == 1 { "accepted" } else { "duplicate" }.to_owned(), String::new())
}

#[track_caller]
pub(crate) fn accepted(huidu: &Huidu, event: &Value) {
    let (fate, detail) = fate(huidu, &huidu.server, event);
    assert_eq!(fate, "accepted", "{event}: {detail}");
}
