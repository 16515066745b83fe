//! When a member's log has lived without a break (H25).

use crate::ids::{Member, Offset, Session, VolumeId};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// What a volume remembers of its log's life (`session.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFile {
    /// The life.
    pub session: Session,
    /// Whose log it was.
    pub member: Member,
    /// On which volume.
    pub volume: VolumeId,
    /// The kernel's boot under which bytes were last written.
    pub boot_id: String,
    /// The log end of an orderly stop. Taken off before every start of a broker.
    pub clean: Option<Offset>,
}

/// Whether the life goes on: the page cache that holds unflushed bytes is still the same one, or an orderly stop left
/// nothing in it. A cut, a seed or a lost file end the life as well; who does those writes a new session.
pub fn unbroken(
    file: &SessionFile,
    member: &Member,
    volume: &VolumeId,
    boot_id: &str,
    end: Offset,
) -> bool {
    let same_volume = file.member == *member && file.volume == *volume;
    same_volume && (file.boot_id == boot_id || file.clean == Some(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(clean: Option<u64>) -> SessionFile {
        SessionFile {
            session: "s".into(),
            member: "a".into(),
            volume: "v".into(),
            boot_id: "boot-1".into(),
            clean: clean.map(Offset::new),
        }
    }

    fn lives(file: &SessionFile, member: &str, volume: &str, boot: &str, end: u64) -> bool {
        unbroken(file, &member.into(), &volume.into(), boot, Offset::new(end))
    }

    #[test]
    fn a_process_death_keeps_the_life_and_a_reboot_ends_it() {
        assert!(lives(&file(None), "a", "v", "boot-1", 900));
        assert!(!lives(&file(None), "a", "v", "boot-2", 900));
    }

    #[test]
    fn an_orderly_stop_survives_a_reboot_only_with_its_very_end() {
        assert!(lives(&file(Some(900)), "a", "v", "boot-2", 900));
        assert!(!lives(&file(Some(900)), "a", "v", "boot-2", 850));
    }

    #[test]
    fn a_cloned_volume_or_another_member_is_another_life() {
        assert!(!lives(&file(None), "b", "v", "boot-1", 900));
        assert!(!lives(&file(None), "a", "w", "boot-1", 900));
    }
}
