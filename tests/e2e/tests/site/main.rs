//! What stock clients and brokers make of httpsite, one story per promise.

mod broken_page;
mod clients;
mod downgraded;
mod go_client;
mod name_server_new;
mod name_servers_scaled;
mod replicas;
