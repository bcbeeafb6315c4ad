//! Prints the figures of `docs/statistics.md`:
//!
//!     cargo test --test it -- --ignored --nocapture stats::table
#![expect(clippy::print_stdout, reason = "a table for a person")]

use super::coverage::{Covered, grid};
use super::looks::{Guarded, SHAPES, guarded, limited, many, repeated, shares};
use super::ramp::fresh;
use super::returning::{Plan, Returning, returning};

#[test]
#[ignore = "minutes of simulation; the other tests assert what it shows"]
fn print() {
    ramps();
    daily();
    guardrails();
    others();
}

fn ramps() {
    println!(
        "ramps: mean difference | single look, last day | single look, daily | verdict, daily | truth covered"
    );
    for effect in [0.0, 0.01] {
        let found = fresh(4_000, effect);
        println!("  fresh, effect {effect}: thrown together  {}", found.pooled);
        println!("  fresh, effect {effect}: by stage         {}", found.by_stage);
    }
    for (name, plan, runs) in [("returning", Plan::returning(), 1_000), ("sticky", Plan::sticky(), 1_000)] {
        let found = returning(&plan, runs, name);
        println!("  {name}: first exposure ever, thrown together  {}", found.first_ever_pooled);
        println!("  {name}: first exposure ever, by stage         {}", found.first_ever_by_stage);
        println!("  {name}: first in the stage, unclustered       {}", found.unclustered);
        println!("  {name}: first in the stage, clustered         {}", found.clustered);
        let Returning { srm, srm_product, srm_chi_square, .. } = found;
        println!(
            "  {name}: shares at 1 %: per stage {srm}, product {srm_product}, chi-square daily {srm_chi_square}"
        );
    }
}

fn daily() {
    println!("100 daily looks without effect: runs that said something");
    for shape in SHAPES {
        let found = repeated(shape, 0.0, 4_000, true);
        println!("  {shape:?}");
        println!(
            "    p once {}, p daily {}, Newcombe {}, Wald {}",
            found.once, found.fixed, found.newcombe, found.wald
        );
        println!("    P(better) > 0.95 {}, P(better) > 0.975 {}", found.likely, found.likelier);
        println!(
            "    verdict {}, two-sided at 500 {}, covered {}",
            found.verdict, found.guardrail, found.covered
        );
    }
    println!("10 %, 1,000 + 1,000 a day: decided by day 40, by day 100, interval covers on all days");
    for effect in [0.005, 0.01, 0.02] {
        let found = repeated((1_000, 1_000, 0.10), effect, 2_000, false);
        println!("  {effect:+}: {}, {}, {}", found.by_day_40, found.verdict, found.covered);
    }
}

fn guardrails() {
    println!(
        "guardrail, margin 0.5 points, 60 days: broken, harmed or broken, holds, bare difference over the margin"
    );
    for control in [50, 500] {
        for harm in [0.0, 0.005, 0.01, 0.02] {
            let Guarded { broken, harmed, holds, bare } = guarded(control, harm, 2_000);
            println!("  500 + {control}, harm {harm}: {broken}, {harmed}, {holds}, {bare}");
        }
    }
    println!("limit 3 %: broken, holds, Wilson daily, bare rate");
    for rate in [0.01, 0.02, 0.03, 0.04, 0.06] {
        let [broken, holds, wilson, bare] = limited(rate, 2_000);
        println!("  {rate}: {broken}, {holds}, {wilson}, {bare}");
    }
}

fn others() {
    println!("shares at 1 %: e-process, chi-square once, chi-square daily");
    for expected in [&[0.5, 0.5][..], &[10.0 / 11.0, 1.0 / 11.0], &[1.0 / 3.0; 3]] {
        let [sequential, once, daily] = shares(expected, expected, 4_000);
        println!("  {expected:.3?}: {sequential}, {once}, {daily}");
    }
    let [plain, adjusted] = many(1_000);
    println!("3 variants x 10 metrics, 50 days: some p < 5 % {plain}, adjusted {adjusted}");
    println!("single-look coverage: units, rate, lift: Wald, Newcombe, MOVER-R");
    for place in grid() {
        let Covered { units, rate, lift, wald, newcombe, mover_r } = place;
        println!("  {units:?} {rate} {lift}: {wald:.1} {newcombe:.1} {mover_r:.1}");
    }
}
