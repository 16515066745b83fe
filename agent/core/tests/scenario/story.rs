//! A story: lines that change the world, `at` that moves time, `expect` that decides and compares.

use super::{show, words, world::World};

/// Runs a story; how many steps were expected.
pub fn run(text: &str) -> Result<usize, String> {
    let mut world = World::new();
    let start = world.now_ms;
    let mut steps = 0;
    for (number, raw) in text.lines().enumerate() {
        let line = raw.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let told = tell(&mut world, line, start)
            .map_err(|why| format!("line {}: {line}\n  {why}", number + 1))?;
        steps += usize::from(told);
    }
    Ok(steps)
}

fn tell(world: &mut World, line: &str, start: u64) -> Result<bool, String> {
    if let Some(rest) = line.strip_prefix("at ") {
        let (time, rest) = rest
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or((rest.trim(), ""));
        let at = start + words::millis(time)?;
        if at < world.now_ms {
            return Err("time runs backwards".into());
        }
        world.now_ms = at;
        return if rest.is_empty() {
            Ok(false)
        } else {
            tell(world, rest.trim(), start)
        };
    }
    if line == "done" {
        return world.done().map(|()| false);
    }
    let Some(expected) = line.strip_prefix("expect ") else {
        return words::apply(world, line).map(|()| false);
    };
    let (reason, actions) = expected
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((expected.trim(), ""));
    let decision = world.decide();
    let seen = show::actions(&decision.actions);
    let actions = actions.trim();
    let actions = actions
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(actions)
        .trim();
    if decision.reason.word() != reason || seen != actions {
        return Err(format!(
            "expected {reason} [{actions}]\n  decided  {} [{seen}]",
            decision.reason
        ));
    }
    Ok(true)
}
