//! The rocketmq-ha sidecar: elects, fences, repairs and serves one RocketMQ broker.
pub mod base_conf;
pub mod broker_conf;
pub mod nameservers;
pub mod properties;
pub mod clock;
pub mod settings;
