//! Every single fault on real brokers, and what it costs.
//!
//! Each story is a [`Trial`](e2e::Trial): a group under traffic, one fault, and afterwards the group is on its own what it
//! was before, nothing replicated is lost, never two masters, equal logs. The costs are told and, with
//! `ROCKETMQ_HA_COSTS=file`, written down.

mod api_server;
mod broken_answers;
mod conf;
mod control_plane;
mod cut_off;
mod disk;
mod lease;
mod lost;
mod many;
mod names;
mod power;
mod relay;
mod rights;
mod stopped;
mod versions;
mod wall_clock;
