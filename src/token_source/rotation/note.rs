//! Notes in the state directory about secrets that must be deleted.

use super::{RotationConfig, RotationError};
use crate::domain::clock::UnixTime;
use crate::files::{self, blocking, private};

/// A secret that must be deleted, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub id: String,
    pub until: UnixTime,
}

impl Note {
    /// All notes; malformed lines are skipped.
    pub async fn read_all(rotation: &RotationConfig) -> Vec<Self> {
        let file = rotation.note_file.clone();
        let text = match blocking(move || private::read(&file, files::MAX_SECRET)).await {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "the old secrets to delete are unknown");
                return Vec::new();
            }
        };
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(Self::parse)
            .collect()
    }

    pub fn parse(line: &str) -> Option<Self> {
        let (until, id) = line.split_once(' ')?;
        Some(Self {
            id: id.to_owned(),
            until: UnixTime(until.parse().ok()?),
        })
    }

    pub async fn write_all(rotation: &RotationConfig, notes: &[Self]) -> Result<(), RotationError> {
        let (file, notes) = (rotation.note_file.clone(), notes.to_vec());
        let write = move || -> std::io::Result<()> {
            if notes.is_empty() {
                return std::fs::remove_file(&file);
            }
            if let Some(dir) = file.parent() {
                private::make_dir(dir)?;
            }
            let lines: String = notes
                .iter()
                .map(|note| format!("{} {}\n", note.until.0, note.id))
                .collect();
            private::replace(&file, lines.as_bytes())
        };
        blocking(write).await.map_err(RotationError::Note)
    }
}
