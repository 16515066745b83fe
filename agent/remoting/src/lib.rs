//! RocketMQ's remoting protocol: a pure codec, a small client, typed calls.
