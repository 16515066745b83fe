//! Every promise on real brokers, one story per promise.

mod agent_frozen;
mod agent_restart;
mod bad_input;
mod diverged_tail;
mod empty_slave;
mod jvm_crash;
mod member_lost;
mod name_server_page;
mod no_message;
mod oldest_deleted;
mod paused;
mod real_api;
mod switchover_lagging;
mod three_members;
mod unproven_slave;
