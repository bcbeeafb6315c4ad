//! The simulated shoppers call the service as a shop would: its page with a client key, its backend with a server key,
//! its product manager with an admin key.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::cli::output::{complain, say};
use crate::cli::remote::Remote;
use crate::clock::{Clock as _, DAY_MS, HOUR_MS, MachineClock, SetClock, rfc3339};
use crate::demo::{
    Act, CONTROL_PERCENT, FRIEND_PAY, RAMP_PERCENT, SCAN_PAY, Shoppers, Shown, Visit, outcome,
};
use crate::engine::key::EnvironmentKey;
use crate::settings::ClientSettings;

/// Most events of one call.
const BATCH: usize = 500;
/// Time that passes between two looks at who comes.
const STEP_MS: i64 = HOUR_MS;

/// How fast, how long, who.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// When the ramp began.
    pub(super) begins_ms: i64,
    /// How many days ago that is.
    pub(super) days: u32,
    /// Visits a real second until the present is reached.
    pub(super) rate: u32,
    /// Simulated time over real time until then.
    pub(super) compression: u32,
    /// Visits a second from then on.
    pub(super) live_rate: u32,
    /// Of the shoppers.
    pub(super) seed: u64,
}

/// The keys of a first start.
pub(super) struct Keys {
    pub(super) admin: String,
    pub(super) client: String,
    pub(super) server: String,
}

/// Something that will be told: when, in the order of their making, by whom, what.
type Due = Reverse<(i64, u64, bool, String)>;

/// The simulation under way.
pub(super) struct Drive {
    page: Remote,
    backend: Remote,
    manager: Remote,
    pace: Pace,
    clock: Arc<SetClock>,
    shoppers: Shoppers,
    due: BinaryHeap<Due>,
    made: u64,
    visits: u64,
    refused: u64,
}

impl Drive {
    pub(super) fn new(
        address: SocketAddr,
        keys: &Keys,
        pace: Pace,
        clock: Arc<SetClock>,
    ) -> anyhow::Result<Self> {
        let environment = EnvironmentKey::parse("production")?;
        let remote = |key: &str| {
            Remote::new(&ClientSettings {
                url: format!("http://{address}"),
                key: Some(SecretString::from(key.to_owned())),
                environment: environment.clone(),
            })
        };
        let seconds = f64::from(pace.days) * 86_400.0 / f64::from(pace.compression);
        let number = Shoppers::number_for(f64::from(pace.rate) * seconds, f64::from(pace.days));
        Ok(Self {
            page: remote(&keys.client)?,
            backend: remote(&keys.server)?,
            manager: remote(&keys.admin)?,
            pace,
            clock,
            shoppers: Shoppers::new(pace.seed, number, pace.begins_ms),
            due: BinaryHeap::new(),
            made: 0,
            visits: 0,
            refused: 0,
        })
    }

    /// Through the past at the chosen speed, then on in the present.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        let began_ns = MachineClock.monotonic_ns();
        let mut now_ms = self.pace.begins_ms;
        let mut ramped = 0;
        while now_ms + STEP_MS <= MachineClock.now_ms() {
            ramped = self.ramp(now_ms, ramped)?;
            // The last moment of the step: it is of the same day, and so are the tokens.
            self.clock.set(now_ms + STEP_MS - 1);
            while let Some(visit) = self.shoppers.next_before(now_ms + STEP_MS) {
                self.visit(&visit, now_ms + STEP_MS - 1)?;
            }
            now_ms += STEP_MS;
            self.tell(now_ms - 1)?;
            self.wait(now_ms, began_ns);
        }
        self.clock.let_go();
        say(&format!("caught up with the present: {} visits", self.visits));
        self.go_on()
    }

    /// The present: so many a second.
    fn go_on(mut self) -> anyhow::Result<()> {
        for number in 0.. {
            let every = match self.pace.live_rate {
                0 => Duration::from_secs(1),
                rate => Duration::from_secs(1) / rate,
            };
            std::thread::sleep(every);
            let now_ms = self.clock.now_ms();
            if self.pace.live_rate > 0 {
                let visit = self.shoppers.passer_by(number, now_ms);
                self.visit(&visit, now_ms)?;
            }
            if number % 10 == 0 {
                self.tell(now_ms)?;
            }
        }
        Ok(())
    }

    /// Opens both entries further when their time has come.
    fn ramp(&self, now_ms: i64, ramped: usize) -> anyhow::Result<usize> {
        let quarter_ms = i64::from(self.pace.days) * DAY_MS / 4;
        let mut next = ramped;
        while let Some(percent) = RAMP_PERCENT.get(next)
            && i64::try_from(next).is_ok_and(|n| now_ms >= self.pace.begins_ms + n * quarter_ms)
        {
            self.clock.set(now_ms);
            for flag in [SCAN_PAY, FRIEND_PAY] {
                let path = format!("/flags/{flag}");
                if next == 0 {
                    // A salt of the seed's: the same shoppers fall into the same cohorts.
                    let salt = json!({"salt": format!("{flag}-{}", self.pace.seed)});
                    self.manager.send("PATCH", &path, &self.read(&path)?, &salt)?;
                }
                let body = json!({"rule": "ramp", "percent": percent, "control": CONTROL_PERCENT,
                                  "reason": format!("{percent} % of the ramp")});
                self.manager.send("POST", &format!("{path}/rollout"), &self.read(&path)?, &body)?;
            }
            next += 1;
        }
        Ok(next)
    }

    /// The precondition of a change: the flag's version now.
    fn read(&self, path: &str) -> anyhow::Result<[(&'static str, String); 1]> {
        let stored = self.manager.get(path)?.json;
        let version = stored.get("version").and_then(Value::as_i64).context("no version")?;
        Ok([("if-match", format!("\"{version}\""))])
    }

    /// The checkout page: asks, shows, and notes down what will come of it.
    fn visit(&mut self, visit: &Visit, now_ms: i64) -> anyhow::Result<()> {
        self.visits += 1;
        let shopper = &visit.shopper;
        let answer = self.page.post(
            "/v1/decisions",
            &json!({"placement": "checkout",
                    "user": {"id": shopper.id, "region": shopper.region, "app_version": shopper.app_version},
                    "order": {"id": visit.order_id, "currency": "CNY", "goods": [
                        {"id": visit.goods_id, "category": visit.category, "price": visit.price}]}}),
        )?;
        let entries = answer.json.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
        let entry = |flag: &str| entries.iter().find(|e| e.get("flag").is_some_and(|key| key == flag));
        let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
        let seen = |entry: &&Value| entry.get("visible").is_some_and(|visible| visible == true);
        let token = |flag: &str| entry(flag).and_then(|entry| text(entry, "exposure_token"));
        for token in [token(SCAN_PAY), token(FRIEND_PAY)].into_iter().flatten() {
            let exposure = json!({"type": "exposure", "token": token});
            self.note(visit.at_ms.min(now_ms), false, exposure);
        }
        let friend = entry(FRIEND_PAY).filter(seen).and_then(|entry| text(entry, "variant"));
        let shown = Shown { scan: entry(SCAN_PAY).filter(seen).is_some(), friend: friend.as_deref() };
        for (number, act) in outcome(visit, shown).iter().enumerate() {
            let at_ms = visit.at_ms + act.after_ms;
            let id = format!("{}-{number}", visit.order_id);
            match act.flag.map(token) {
                Some(Some(token)) => {
                    let stop = json!({"id": id, "type": "step", "step": act.step, "token": token});
                    self.note(at_ms, false, stop);
                }
                Some(None) => {}
                None => self.note(at_ms, true, metric(visit, act, &id)),
            }
        }
        Ok(())
    }

    fn note(&mut self, at_ms: i64, by_backend: bool, event: Value) {
        self.made += 1;
        self.due.push(Reverse((at_ms, self.made, by_backend, event.to_string())));
    }

    /// Sends what has happened by now.
    fn tell(&mut self, now_ms: i64) -> anyhow::Result<()> {
        let (mut page, mut backend) = (Vec::new(), Vec::new());
        while self.due.peek().is_some_and(|Reverse((at_ms, ..))| *at_ms <= now_ms) {
            let Some(Reverse((at_ms, _, by_backend, event))) = self.due.pop() else { break };
            let mut event: Value = serde_json::from_str(&event)?;
            let Some(fields) = event.as_object_mut() else { continue };
            if by_backend {
                fields.insert("at".to_owned(), rfc3339(at_ms).into());
                backend.push(event);
            } else {
                fields.insert("ago_ms".to_owned(), (now_ms - at_ms).into());
                page.push(event);
            }
        }
        let mut refused = 0;
        for (remote, events) in [(&self.page, page), (&self.backend, backend)] {
            for batch in events.chunks(BATCH) {
                let answer = remote.post("/v1/events", &json!({"events": batch}))?.json;
                let rejected = answer.get("rejected").and_then(Value::as_array).cloned().unwrap_or_default();
                if let (0, Some(first)) = (self.refused, rejected.first()) {
                    complain(&format!("huidu: an event was refused: {first}"));
                }
                refused += rejected.len() as u64;
            }
        }
        self.refused += refused;
        Ok(())
    }

    /// Waits until real time has come as far.
    fn wait(&self, now_ms: i64, began_ns: u64) {
        let past_ms = now_ms - self.pace.begins_ms;
        let real_ms = u64::try_from(past_ms / i64::from(self.pace.compression)).unwrap_or_default();
        let spent_ms = MachineClock.monotonic_ns().saturating_sub(began_ns) / 1_000_000;
        std::thread::sleep(Duration::from_millis(real_ms.saturating_sub(spent_ms)));
    }
}

fn metric(visit: &Visit, act: &Act, id: &str) -> Value {
    let mut event = json!({"id": id, "type": "step", "step": act.step, "user_id": visit.shopper.id,
                           "order_id": visit.order_id});
    if let (Some(method), Some(fields)) = (act.paid_by, event.as_object_mut()) {
        fields.insert("value".to_owned(), visit.price.into());
        fields.insert("currency".to_owned(), "CNY".into());
        fields.insert("attributes".to_owned(), json!({"payment_method": method}));
    }
    event
}
