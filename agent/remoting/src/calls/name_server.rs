//! Is a name server alive?

use super::reply;
use crate::call::Call;
use crate::code::request;
use crate::command::Command;
use crate::error::AnswerError;

/// Asks a name server for its configuration (319), the cheapest thing it answers: no locks (facts §2.5).
#[derive(Clone, Copy, Debug)]
pub struct ProbeNameServer;

impl Call for ProbeNameServer {
    type Answer = ();

    fn request(&self) -> Command {
        Command::request(request::GET_NAMESRV_CONFIG)
    }

    fn answer(&self, reply: &Command) -> Result<(), AnswerError> {
        reply::expect_success(reply)
    }
}
