//! Real name servers, brokers and agents as local processes: cargo demo.
