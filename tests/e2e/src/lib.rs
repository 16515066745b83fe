//! Every promise on real brokers.
