//! Every promise on real brokers, one story per promise.

mod agent_frozen;
mod agent_restart;
mod jvm_crash;
mod member_lost;
mod paused;
mod switchover_lagging;
