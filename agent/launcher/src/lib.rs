//! brokerStart and brokerAliveTest: what runs in the broker's container.
