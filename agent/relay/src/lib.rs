//! The replication relay: the HA stream between two members' launchers, admitted, proved and acknowledged by rule.
