//! What the agents measured themselves, from their metrics.

use anyhow::{Result, ensure};
use playground::wait::until;
use playground::{Member, http};

use crate::group::LIMIT;

const DURATIONS: &str = "rocketmq_ha_transition_duration_seconds_sum";

/// The stages of the promotions of `kind` (`failover`, `in_place`, `switchover`, `first`) that a member's agent went
/// through since it was started, in words: `silence 4.0 s, freeze 12 ms`.
///
/// A promotion is complete when the agent has seen its gate open, a moment after the first message: waits for that.
///
/// # Errors
/// When the agent does not tell in time.
pub async fn stages(member: &Member, kind: &str) -> Result<String> {
    let what = format!("the figures of {}", member.name());
    until(&what, LIMIT, async || {
        let answer = http::get(member.admin(), "/metrics").await?;
        let words = in_words(&answer.body, kind);
        ensure!(!words.is_empty(), "no promotion of kind {kind} is complete");
        Ok(words)
    })
    .await
}

fn in_words(metrics: &str, kind: &str) -> String {
    let of_kind = format!("kind=\"{kind}\"");
    let mut stages: Vec<(f64, String)> = metrics
        .lines()
        .filter(|line| line.starts_with(DURATIONS) && line.contains(&of_kind))
        .filter_map(|line| {
            let (labels, value) = line.rsplit_once(' ')?;
            let (_, stage) = labels.split_once("stage=\"")?;
            let (stage, _) = stage.split_once('"')?;
            Some((value.parse().ok()?, stage.to_owned()))
        })
        .collect();
    stages.sort_by_key(|(_, stage)| ORDER.iter().position(|known| known == stage));
    let words = stages
        .iter()
        .map(|(seconds, stage)| format!("{stage} {:.0} ms", seconds * 1000.0));
    words.collect::<Vec<_>>().join(", ")
}

/// The order in which a promotion goes through them.
const ORDER: [&str; 8] = [
    "silence", "freeze", "collect", "acquire", "repair", "start", "serve", "gate",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_of_one_kind_are_told_in_their_order() {
        let metrics = "\
rocketmq_ha_transition_duration_seconds_sum{broker=\"g\",kind=\"failover\",stage=\"start\"} 1.5
rocketmq_ha_transition_duration_seconds_sum{broker=\"g\",kind=\"failover\",stage=\"freeze\"} 0.012
rocketmq_ha_transition_duration_seconds_sum{broker=\"g\",kind=\"first\",stage=\"freeze\"} 9
rocketmq_ha_transition_duration_seconds_count{broker=\"g\",kind=\"failover\",stage=\"freeze\"} 1
";
        assert_eq!(in_words(metrics, "failover"), "freeze 12 ms, start 1500 ms");
        assert_eq!(in_words(metrics, "switchover"), "");
    }
}
