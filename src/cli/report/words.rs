//! The words of a report in the terminal, in English and Chinese. Sentences come from the service; notes too, in
//! English, so that their Chinese stands here.

use clap::ValueEnum;

/// In which language a report is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// English
    En,
    /// Simplified Chinese
    Zh,
}

impl Language {
    /// The language of a locale such as `zh_CN.UTF-8`.
    pub(super) fn of_locale(locale: &str) -> Self {
        let language = locale.split(['_', '-', '.', '@']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("zh") { Self::Zh } else { Self::En }
    }

    /// Its words.
    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::En => &EN,
            Self::Zh => &ZH,
        }
    }

    /// The name of its field in a sentence of an answer.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// `{}` in `text` replaced by `part`.
    pub(super) fn filled(text: &str, part: &str) -> String {
        text.replacen("{}", part, 1)
    }

    /// A word of the service, such as a verdict, for people.
    pub(super) fn term(self, term: &str) -> String {
        let known = match self {
            Self::En => return term.replace('_', " "),
            Self::Zh => TERMS.iter().find(|(known, _)| *known == term),
        };
        known.map_or_else(|| term.to_owned(), |(_, word)| (*word).to_owned())
    }

    /// What a note says; `detail` is its English, whose number stands for `{}`.
    pub(super) fn note(self, code: &str, detail: &str) -> String {
        let known = match self {
            Self::En => None,
            Self::Zh => NOTES.iter().find(|(known, _)| *known == code),
        };
        // Only one number stands in a note, if any.
        let number = || detail.chars().filter(char::is_ascii_digit).collect::<String>();
        known.map_or_else(|| detail.to_owned(), |(_, word)| Self::filled(word, &number()))
    }
}

/// Headings, names of columns, and the little that is said between figures. `{}` is a figure or a name.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) of: &'static str,
    /// Between a name and what is said of it.
    pub(super) colon: &'static str,
    /// Between items.
    pub(super) comma: &'static str,
    /// Between sentences.
    pub(super) space: &'static str,
    pub(super) goal: &'static str,
    pub(super) no_goal: &'static str,
    pub(super) hours: &'static str,
    pub(super) range: &'static str,
    pub(super) computed: &'static str,
    pub(super) to: &'static str,
    pub(super) per_cent: &'static str,
    pub(super) result: &'static str,
    pub(super) found_by_now: &'static str,
    pub(super) found_in: &'static str,
    /// Between a metric's name and what each value of its `by` adds.
    pub(super) by_value: &'static str,
    pub(super) variants: &'static str,
    pub(super) funnel: &'static str,
    pub(super) metrics: &'static str,
    pub(super) comparisons: &'static str,
    pub(super) guardrails: &'static str,
    pub(super) values: &'static str,
    pub(super) order_values: &'static str,
    pub(super) ratios: &'static str,
    pub(super) stages: &'static str,
    pub(super) segments: &'static str,
    pub(super) overlap: &'static str,
    pub(super) notes: &'static str,
    pub(super) variant: &'static str,
    pub(super) arm: &'static str,
    pub(super) rule: &'static str,
    pub(super) exposed: &'static str,
    pub(super) maturing: &'static str,
    pub(super) converted: &'static str,
    pub(super) rate: &'static str,
    pub(super) interval: &'static str,
    pub(super) step: &'static str,
    pub(super) users: &'static str,
    pub(super) of_exposed: &'static str,
    pub(super) lost: &'static str,
    pub(super) time: &'static str,
    pub(super) remark: &'static str,
    pub(super) inferred: &'static str,
    pub(super) out_of_order: &'static str,
    pub(super) metric: &'static str,
    pub(super) value: &'static str,
    pub(super) by: &'static str,
    pub(super) baseline: &'static str,
    pub(super) difference: &'static str,
    pub(super) chart: &'static str,
    pub(super) verdict: &'static str,
    pub(super) state: &'static str,
    pub(super) allowed: &'static str,
    pub(super) per_user: &'static str,
    pub(super) per_order: &'static str,
    pub(super) ratio: &'static str,
    pub(super) stage: &'static str,
    pub(super) opened: &'static str,
    pub(super) percent: &'static str,
    pub(super) control: &'static str,
    pub(super) units: &'static str,
    pub(super) others: &'static str,
    /// Values that a metric's `by` does not list.
    pub(super) other: &'static str,
    /// The rule of what a backend told without a context.
    pub(super) reported: &'static str,
    pub(super) flag: &'static str,
    pub(super) both: &'static str,
    pub(super) saw: &'static str,
    pub(super) did_not: &'static str,
    pub(super) srm_ok: &'static str,
    pub(super) srm_bad: &'static str,
    pub(super) srm_none: &'static str,
    pub(super) switched: &'static str,
    pub(super) without_exposure: &'static str,
    pub(super) day: &'static str,
    pub(super) hour: &'static str,
    pub(super) by_day: &'static str,
    pub(super) by_hour: &'static str,
    pub(super) day_by_day: &'static str,
    pub(super) hour_by_hour: &'static str,
    pub(super) no_points: &'static str,
    pub(super) seconds: &'static str,
    pub(super) minutes: &'static str,
    pub(super) long_hours: &'static str,
    pub(super) days: &'static str,
}

const EN: Words = Words {
    of: "{} in ",
    colon: ": ",
    comma: ", ",
    space: " ",
    goal: "goal {}",
    no_goal: "no goal",
    hours: "within {} h",
    range: "first seen from {} to ",
    computed: "computed {}",
    to: "{} to ",
    per_cent: "{} %",
    result: "Result",
    found_by_now: "Smallest effect found by now in four of five cases: {} points (at a single look {}).",
    found_in: "The smallest that the flag asks for: in {} days (at a single look {}).",
    by_value: ", points by value: ",
    variants: "Variants",
    funnel: "Funnel of {}",
    metrics: "What they did",
    comparisons: "Compared with control, in points; the interval holds however often you look",
    guardrails: "Guardrails, in points above control",
    values: "Value per user",
    order_values: "Value per order",
    ratios: "Ratios",
    stages: "Stages",
    segments: "By {}; figures, never a verdict",
    overlap: "Goal among those who also saw another entry, in points; figures, never a verdict",
    notes: "To know",
    variant: "variant",
    arm: "arm",
    rule: "rule",
    exposed: "exposed",
    maturing: "still open",
    converted: "converted",
    rate: "rate",
    interval: "interval",
    step: "step",
    users: "users",
    of_exposed: "of all",
    lost: "lost here",
    time: "median",
    remark: "remark",
    inferred: "{} inferred",
    out_of_order: "{} out of order",
    metric: "metric",
    value: "value",
    by: "by",
    baseline: "control",
    difference: "diff",
    chart: "around 0",
    verdict: "verdict",
    state: "state",
    allowed: "allowed",
    per_user: "per user",
    per_order: "per order",
    ratio: "ratio",
    stage: "stage",
    opened: "opened",
    percent: "percent",
    control: "control",
    units: "units",
    others: "(others)",
    other: "other",
    reported: "(reported)",
    flag: "flag",
    both: "saw both",
    saw: "those",
    did_not: "the others",
    srm_ok: "Shoppers came in the shares that the percentages say (p {}).",
    srm_bad: "Shoppers came in other shares than the percentages say (p {}): no figure below can be trusted until the cause is found.",
    srm_none: "Shares of the arms: nothing to check yet.",
    switched: "{} users changed arm or variant between stages and count in both.",
    without_exposure: "{} stops came from users who were never exposed, and are in no funnel.",
    day: "day",
    hour: "hour (UTC)",
    by_day: "by day ({})",
    by_hour: "by hour",
    day_by_day: "Day by day",
    hour_by_hour: "Hour by hour",
    no_points: "nobody was exposed in this range",
    seconds: "{} s",
    minutes: "{} min",
    long_hours: "{} h",
    days: "{} days",
};

const ZH: Words = Words {
    of: "{}，环境 ",
    colon: "：",
    comma: "，",
    space: "",
    goal: "目标 {}",
    no_goal: "未设目标",
    hours: "观察期 {} 小时",
    range: "首次曝光时间：{} 至 ",
    computed: "计算于 {}",
    to: "{} 至 ",
    per_cent: "{}%",
    result: "结论",
    found_by_now: "目前五次中有四次能发现的最小效果：{} 个百分点（只看一次为 {}）。",
    found_in: "入口要求发现的最小效果：还需 {} 天（只看一次为 {} 天）。",
    by_value: "，各值的百分点：",
    variants: "各版本",
    funnel: "漏斗：{}",
    metrics: "用户行为",
    comparisons: "与对照组比较（百分点；区间随时查看都有效）",
    guardrails: "护栏（比对照组高出的百分点）",
    values: "人均金额",
    order_values: "单均金额",
    ratios: "比率",
    stages: "放量阶段",
    segments: "按 {} 细分（仅供参考，不作结论）",
    overlap: "同时看到其他入口的用户的目标转化（百分点；仅供参考，不作结论）",
    notes: "说明",
    variant: "版本",
    arm: "分组",
    rule: "规则",
    exposed: "曝光用户",
    maturing: "观察期内",
    converted: "转化用户",
    rate: "转化率",
    interval: "区间",
    step: "步骤",
    users: "用户数",
    of_exposed: "占曝光",
    lost: "本步流失",
    time: "中位用时",
    remark: "备注",
    inferred: "推断 {}",
    out_of_order: "乱序 {}",
    metric: "指标",
    value: "金额",
    by: "细分",
    baseline: "对照组",
    difference: "差异",
    chart: "以 0 为中心",
    verdict: "结论",
    state: "状态",
    allowed: "允许",
    per_user: "人均",
    per_order: "单均",
    ratio: "比率",
    stage: "阶段",
    opened: "开始时间",
    percent: "放量",
    control: "对照",
    units: "用户数",
    others: "（其他）",
    other: "其他",
    reported: "（后端上报）",
    flag: "入口",
    both: "两者都看到",
    saw: "这些用户",
    did_not: "其他用户",
    srm_ok: "各组用户比例与设定一致（p {}）。",
    srm_bad: "各组用户比例与设定不符（p {}）：查明原因之前，以下数字都不可信。",
    srm_none: "各组用户比例：暂无可检查的数据。",
    switched: "{} 名用户在不同阶段换过分组或版本，在两边都计入。",
    without_exposure: "{} 次步骤来自没有曝光记录的用户，不计入任何漏斗。",
    day: "日期",
    hour: "小时（UTC）",
    by_day: "按天（{}）",
    by_hour: "按小时",
    day_by_day: "逐日",
    hour_by_hour: "逐小时",
    no_points: "此时间范围内没有用户曝光",
    seconds: "{} 秒",
    minutes: "{} 分钟",
    long_hours: "{} 小时",
    days: "{} 天",
};

/// Words of the service in Chinese.
const TERMS: [(&str, &str); 11] = [
    ("better", "更好"),
    ("worse", "更差"),
    ("undecided", "尚无定论"),
    ("no_comparison", "无法比较"),
    ("holds", "守住"),
    ("harmed", "受损"),
    ("broken", "突破"),
    ("treatment", "实验组"),
    ("control", "对照组"),
    ("fixed", "固定"),
    ("unknown", "未知"),
];

/// Notes that say nothing that the figures, or a missing figure, do not say already.
pub(super) const SILENT: [&str; 5] =
    ["not_the_goal", "nobody_before", "no_times", "null_rates", "switched_units"];

/// What notes say in Chinese.
const NOTES: [(&str, &str); 26] = [
    ("no_control", "没有用户作为对照组：设置对照比例后才能比较"),
    ("no_treatment", "没有用户按比例进入该版本"),
    ("no_common_stage", "该版本与对照组从未在同一阶段开放"),
    ("nothing_exposed", "此时间范围内没有用户曝光"),
    ("maturing", "已有用户曝光，但所需的观察期尚未结束"),
    ("only_fixed", "只有规则固定给出的版本，不参与比较"),
    ("srm", "各组用户比例与设定不符：请先查明原因再看数字"),
    ("goal_in_funnel", "目标是入口自身漏斗中的一步，对照组无法到达"),
    ("control_zero", "对照组为零，无法计算相对值"),
    ("unbounded", "数据太少，这一侧没有界限"),
    ("few_units", "某一组少于两名用户"),
    ("no_variance", "所有数值相同，离散程度未知"),
    ("treatment_zero", "该版本为零，无法计算相对值"),
    ("no_values", "没有用户产生金额"),
    ("not_open", "没有开放的阶段，不会有新用户进入比较"),
    ("no_growth", "最近几天没有新用户进入比较，无法预计日期"),
    ("out_of_reach", "按目前的速度需要一百年以上"),
    ("certain", "无需检验即可确定：出现了不可能出现的情况"),
    ("few_expected", "部分期望数小于 5，卡方值较粗略"),
    ("stage_left_out", "某阶段只有一组，未计入比较"),
    ("input_invalid", "计算所用的某个数字无效"),
    ("hours_waiting", "部分小时的迟到事件或刚结束的观察期尚未计入，请稍后再看"),
    ("no_goal", "该入口未设目标，只比较各项指标"),
    ("range_empty", "时间范围的结束早于开始"),
    ("stage_unknown", "有 {} 次曝光所属的阶段没有记录"),
    ("day_not_on_the_hour", "该时区的一天不从 UTC 整点开始：每小时计入其开始所在的那一天"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::decision::Arm;
    use crate::report::notes::Told;
    use crate::stats::figures::{Verdict, Why};
    use crate::stats::guardrail::State;

    fn has_chinese(text: &str) -> bool {
        text.chars().any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter))
    }

    #[test]
    fn whatever_the_service_says_is_shown_in_chinese() {
        let reasons = Why::ALL.iter().map(|why| why.as_str());
        let notes: BTreeSet<&str> = reasons.chain(Told::ALL.iter().map(|told| told.as_str())).collect();
        let translated: BTreeSet<&str> = NOTES.iter().map(|(code, _)| *code).collect();
        let shown = notes.iter().copied().filter(|code| !SILENT.contains(code));
        assert_eq!(translated, shown.collect(), "notes, and none that nobody says");
        assert!(SILENT.iter().all(|code| notes.contains(code)));
        let verdicts = Verdict::ALL.map(Verdict::as_str).into_iter().chain(State::ALL.map(State::as_str));
        let terms: BTreeSet<&str> = verdicts.chain(Arm::ALL.map(Arm::as_str)).chain(["unknown"]).collect();
        assert_eq!(TERMS.iter().map(|(term, _)| *term).collect::<BTreeSet<_>>(), terms);
        for (word, chinese) in TERMS.iter().chain(&NOTES) {
            assert!(has_chinese(chinese), "{word}: {chinese}");
        }
    }

    #[test]
    fn headings_and_names_are_in_chinese_where_they_are_words_in_english() {
        let fields = |words: &Words| -> Vec<String> {
            format!("{words:#?}").lines().map(|line| line.trim().to_owned()).collect()
        };
        for (english, chinese) in fields(&EN).iter().zip(fields(&ZH)) {
            let Some((_, text)) = english.split_once(": \"") else { continue };
            let is_word = text.replace("{}", "").chars().any(char::is_alphabetic);
            assert!(!is_word || has_chinese(&chinese), "{english} {chinese}");
        }
    }

    #[test]
    fn a_locale_names_its_language() {
        for (locale, expected) in [
            ("zh_CN.UTF-8", Language::Zh),
            ("zh", Language::Zh),
            ("ZH-Hans", Language::Zh),
            ("en_GB.UTF-8", Language::En),
            ("zha", Language::En),
            ("C", Language::En),
            ("", Language::En),
        ] {
            assert_eq!(Language::of_locale(locale), expected, "{locale}");
        }
    }

    #[test]
    fn every_placeholder_stands_in_both_languages() {
        let fields = |words: &Words| -> Vec<(String, usize)> {
            let text = format!("{words:#?}");
            let lines = text.lines().filter_map(|line| line.trim().split_once(": \""));
            lines.map(|(name, text)| (name.to_owned(), text.matches("{}").count())).collect()
        };
        assert_eq!(fields(&EN), fields(&ZH));
        assert!(fields(&EN).len() > 60);
    }

    #[test]
    fn what_is_not_known_is_said_as_the_service_says_it() {
        assert_eq!(Language::Zh.term("better"), "更好");
        assert_eq!(Language::Zh.term("new_word"), "new_word");
        assert_eq!(Language::En.term("no_comparison"), "no comparison");
        assert_eq!(Language::Zh.note("srm", "x"), "各组用户比例与设定不符：请先查明原因再看数字");
        assert_eq!(Language::Zh.note("new_code", "a new note"), "a new note");
        let strays = "exposures that name a stage which is not stored: 31";
        assert_eq!(Language::Zh.note("stage_unknown", strays), "有 31 次曝光所属的阶段没有记录");
        assert_eq!(Language::En.note("stage_unknown", strays), strays);
        assert_eq!(Language::En.note("srm", "as the service says"), "as the service says");
    }
}
