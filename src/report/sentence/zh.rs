//! Simplified Chinese.

use super::{Figures, GuardFigures, Guarded, LONG_DAYS, Limited, Next, Told};
use crate::stats::compare::Better;
use crate::stats::figures::{Verdict, Why};
use crate::stats::guardrail::State;

/// A step as a noun, as what a shopper did, and as what none did.
fn step(key: &str) -> [String; 3] {
    let words = match key {
        "order_paid" => ["订单", "支付了订单", "支付订单"],
        "payment_failed" => ["支付失败", "遇到支付失败", "遇到支付失败"],
        "complaint" => ["投诉", "提出了投诉", "提出投诉"],
        other => return [format!("“{other}”"), format!("完成了“{other}”"), format!("完成“{other}”")],
    };
    words.map(str::to_owned)
}

fn subject(told: &Told<'_>) -> String {
    told.variant.map_or_else(|| "该入口".to_owned(), |variant| format!("版本“{variant}”"))
}

pub(super) fn comparison(told: &Told<'_>) -> String {
    let [noun, did, none_did] = step(told.goal);
    match (told.verdict, &told.figures) {
        (Verdict::Better | Verdict::Worse, Some(figures)) => decided(told, &noun, &did, figures),
        (Verdict::Undecided, Some(figures)) if told.nobody_converted => undecided(told, &none_did, figures),
        (Verdict::Undecided, Some(figures)) => undecided(told, &did, figures),
        _ => nothing(told, &none_did),
    }
}

fn decided(told: &Told<'_>, noun: &str, did: &str, figures: &Figures) -> String {
    let better = told.verdict == Verdict::Better;
    let verb = match (told.better, better) {
        (Better::More, true) => "带来了更多",
        (Better::More, false) => "减少了",
        (Better::Less, true) => "减少了",
        (Better::Less, false) => "带来了更多",
    };
    let todo = if better { "可以继续放量。" } else { "请缩小或关闭，并查明原因。" };
    let Figures { difference, low, high, confidence, .. } = figures;
    let lift = figures
        .lift
        .as_ref()
        .map(|(size, more)| format!("（相对{} {size}%）", if *more { "多" } else { "少" }));
    format!(
        "{}{verb}{noun}：{}，相差 {difference} 个百分点{}（{confidence}% 把握：{low} 到 {high} 个百分点）。{todo}",
        subject(told),
        rates(did, figures),
        lift.unwrap_or_default(),
    )
}

fn rates(did: &str, figures: &Figures) -> String {
    format!("看到它的用户中 {}% {did}，没有它的用户中为 {}%", figures.treatment, figures.control)
}

fn lead(told: &Told<'_>) -> String {
    told.variant.map_or_else(String::new, |variant| format!("版本“{variant}”："))
}

fn undecided(told: &Told<'_>, did: &str, figures: &Figures) -> String {
    let Figures { difference, low, high, confidence, .. } = figures;
    let lead = lead(told);
    let mut text = if let Some(among) = told.among {
        format!(
            "{lead}在比较的 {among} 项中不能排除偶然：{}，相差 {difference} 个百分点；单看这一项在 {low} 到 {high} 个百分点之间（{confidence}% 把握），但比较这么多项时，没有差异也会有个别如此。",
            rates(did, figures)
        )
    } else if told.nobody_converted {
        format!(
            "{lead}无论有没有它，目前都没有用户{did}；差异可能在 {low} 到 {high} 个百分点之间（{confidence}% 把握）。"
        )
    } else {
        format!(
            "{lead}尚未证明有差异：{}，相差 {difference} 个百分点，但实际可能在 {low} 到 {high} 个百分点之间（{confidence}% 把握）。",
            rates(did, figures)
        )
    };
    if let Some(margin) = &told.not_worse_than {
        text.push_str(&format!("已证明变差不到 {margin} 个百分点。"));
    }
    text.push_str(&match &told.next {
        Next::In { days, users } if *days >= 365 => {
            format!("按目前的速度需要一年以上（届时新增 {users} 名用户）：请扩大放量或对照组。")
        }
        Next::In { days, users } if *days > LONG_DAYS => {
            format!("按目前的速度还需 {days} 天和 {users} 名新用户：扩大放量或对照组会更快。")
        }
        Next::In { days, users } => format!("请保持不变，{days} 天后再看，届时约新增 {users} 名用户。"),
        Next::Enough => {
            format!("若有 {}% 的效果，五次中有四次此时已能看出：不必再等这么大的效果。", told.min_effect)
        }
        Next::Untold => String::new(),
        Next::Shut => "入口已关闭，不会有新用户加入：继续等待不会有结论。".to_owned(),
        Next::Standing => "最近几天没有新用户加入：继续等待不会有结论，扩大放量才可能有。".to_owned(),
        Next::Unknown => "现在还无法判断何时再看。".to_owned(),
    });
    if let Some(maturing) = &told.maturing {
        text.push_str(&format!("另有 {maturing} 名用户仍在观察期内，尚未计入。"));
    }
    text
}

fn nothing(told: &Told<'_>, did: &str) -> String {
    let text = match told.why.unwrap_or(Why::NothingExposed) {
        Why::Maturing if told.some_matured => format!(
            "现在比较为时过早：双方尚未都有观察期已结束的用户；{}仍在观察期内。",
            told.maturing.as_ref().map_or_else(|| "其他用户".to_owned(), |many| format!("{many} 名用户"))
        ),
        Why::Maturing => match &told.maturing {
            Some(many) => format!("现在比较为时过早：已记录 {many} 名用户，都仍在观察期内。"),
            None => "现在比较为时过早：已记录的用户都仍在观察期内。".to_owned(),
        },
        Why::Srm => {
            "请勿相信这些数字：各组用户的比例与设定的百分比不符。请先查明哪些曝光丢失或重复。".to_owned()
        }
        why => format!("无法比较：{}", because(why, did)),
    };
    lead(told) + &text
}

fn because(why: Why, did: &str) -> String {
    match why {
        Why::NoControl => "没有用户作为对照组。请为放量设置对照组百分比。".to_owned(),
        Why::NoTreatment => "还没有用户按百分比进入。请先放量给一部分用户。".to_owned(),
        Why::NoCommonStage => "它与对照组从未同时开放。请在同一阶段开放两者。".to_owned(),
        Why::OnlyFixed => "只有测试人员使用它。请开放带对照组的放量。".to_owned(),
        Why::GoalInFunnel => {
            format!("目标是入口自身的一步，没有入口的用户不可能{did}。请选择双方都能达到的目标。")
        }
        Why::NothingExposed => "这段时间内没有记录到用户。".to_owned(),
        Why::Maturing => "已有用户，但所需的用户仍在观察期内。".to_owned(),
        Why::InputInvalid => "用于计算的数字无效。".to_owned(),
        _ => "数据不足。".to_owned(),
    }
}

/// What a guardrail says where shares are wrong.
const DISTRUSTED: &str = "但请勿相信这些数字：各组用户的比例与设定的百分比不符。请勿继续放量，先查明原因。";

pub(super) fn margin(told: &Guarded<'_>) -> String {
    let [noun, did, none_did] = step(told.step);
    let allowed = &told.allowed;
    let Some(figures) = &told.figures else {
        return format!("护栏“{noun}”：{}尚无结论，请勿继续放量。", because(told.why, &none_did));
    };
    let GuardFigures { treatment, control, difference, low, high } = figures;
    let rates =
        format!("有入口的用户中 {treatment}% {did}，没有入口的为 {control}%，相差 {difference} 个百分点");
    if told.distrusted {
        return format!("护栏未获证明（{noun}）：{rates}；{DISTRUSTED}");
    }
    match told.state {
        State::Broken => {
            format!(
                "护栏已突破（{noun}）：{rates}；已证明至少上升 {low} 个百分点，允许 {allowed} 个。请立即回退。"
            )
        }
        State::Harmed => format!(
            "护栏有危险（{noun}）：{rates}；已证明至少上升 {low} 个百分点，但尚未证明超过允许的 {allowed} 个。请暂停并查明原因。"
        ),
        State::Holds => {
            format!(
                "护栏完好（{noun}）：{rates}；最多上升 {high} 个百分点，允许 {allowed} 个。可以继续放量。"
            )
        }
        State::Undecided => format!(
            "护栏尚无结论（{noun}）：{rates}；实际可能在 {low} 到 {high} 个百分点之间，允许 {allowed} 个。请勿继续放量，等待更多用户。"
        ),
    }
}

pub(super) fn limit(told: &Limited<'_>) -> String {
    let [noun, did, none_did] = step(told.step);
    let limit = &told.limit;
    let rate = match &told.rate {
        Ok(rate) => rate,
        Err(Why::NothingExposed) => {
            return format!("护栏“{noun}”：还没有记录到用户，尚无结论；允许 {limit}%。请勿继续放量。");
        }
        Err(why) => {
            let because = because(*why, &none_did);
            return format!("护栏“{noun}”：{because}尚无结论；允许 {limit}%。请勿继续放量。");
        }
    };
    let rates = format!("有入口的用户中 {rate}% {did}，允许 {limit}%");
    if told.distrusted {
        return format!("护栏未获证明（{noun}）：{rates}；{DISTRUSTED}");
    }
    match told.state {
        State::Broken => format!("护栏已突破（{noun}）：{rates}，已证明超过。请立即回退。"),
        State::Holds => format!("护栏完好（{noun}）：{rates}，已证明低于。可以继续放量。"),
        State::Harmed | State::Undecided => {
            format!(
                "护栏尚无结论（{noun}）：{rates}；既未证明超过，也未证明低于。请勿继续放量，等待更多用户。"
            )
        }
    }
}
