//! The rocketmq-ha sidecar: elects, fences, repairs and serves one RocketMQ broker.
